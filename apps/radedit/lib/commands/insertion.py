"""`radedit phantom --into FILM`: findings and devices put into a real film."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from radedit.lib.commands.console import bar, print_json
from radedit.lib.errors import OutputError
from radedit.lib.whole_files import replacing, write_file

if TYPE_CHECKING:
    from radedit.lib.phantom.insertion import Insertion
    from radedit.lib.phantom.insertion_studies import Source, Wish

MANIFEST = "insertions.json"
PICTURE = "before-after.png"


def write_into(film: Path, wish: Wish, out: Path, picture: bool, as_json: bool) -> None:
    """Write the insertions and their manifest, and say what was done.

    Raises
    ------
    RadEditError, DicomError
        As `insertion_studies.write_insertions`.
    """
    from radedit.lib.phantom.insertion_studies import write_insertions

    rows: list[dict[str, Any]] = []
    with bar("insertions") as progress:
        progress(0, wish.count)
        for row, made in write_insertions(film, wish, out):
            if picture and made is not None:
                _draw(made[0], made[1], out / row["folder"] / PICTURE)
            rows.append({**row, "film": str(film)})
            progress(len(rows), wish.count)
    resumed = sum(bool(row["resumed"]) for row in rows)
    summary = {"written": len(rows) - resumed, "already_there": resumed, "insertions": rows}
    try:
        write_file(out / MANIFEST, json.dumps(summary, indent=2) + "\n")
    except OSError as error:
        raise OutputError(f"the manifest cannot be written ({error.strerror}).") from None
    if as_json:
        print_json(summary)
        return
    _print(rows, resumed)


def _print(rows: Sequence[dict[str, Any]], resumed: int) -> None:
    for row in rows:
        state = "there already" if row["resumed"] else "written"
        print(f"{state:14} {row['folder']}  {row['sentence']}")
    print(f"{len(rows) - resumed} written, {resumed} there already; the film itself is the")
    print(f"true counterfactual; rows in {MANIFEST}")


def _draw(source: Source, made: Insertion, path: Path) -> None:
    """Write the film before and after side by side, with the outlines of what was put in."""
    import numpy as np
    from PIL import Image, PngImagePlugin
    from scipy.ndimage import binary_dilation

    before = source.site.display
    outlined = np.stack([made.image] * 3, axis=-1)
    thick = max(1, max(before.shape) // 800)
    for mask in made.masks.values():
        outlined[binary_dilation(mask, iterations=thick) & ~mask] = (1.0, 0.32, 0.32)
    panels = [np.stack([image] * 3, axis=-1) for image in (before, made.image)] + [outlined]
    sheet = Image.fromarray(np.rint(np.concatenate(panels, axis=1) * 255).astype(np.uint8))
    sheet.thumbnail((2400, 1200))
    note = PngImagePlugin.PngInfo()
    note.add_text("Comment", f"SYNTHETIC, NOT FOR DIAGNOSIS: {made.sentence}")
    with replacing(path) as handle:
        sheet.save(handle, "PNG", pnginfo=note)
