"""Films of a run as DICOM files, for a vendor who scores them elsewhere and sends a table back.

The folder for the vendor holds `films/` and `manifest.csv`: under which SOP Instance UID each file
is; with a column for each label that was scored it is what `csv:` takes. It does not tell which
film is edited, nor which ones belong together; that stands in `offline.csv` of the run.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Final

from pydicom.uid import UID

from radedit.lib.json_lines import written_to
from radedit.lib.stress.runner import Bench, Plan, Progress, open_bench
from radedit.lib.stress.variants import Shown
from radedit.lib.victims.remote_films import object_of
from radedit.lib.victims.scores_file import offline_uid
from radedit_dicom.errors import UnsupportedImageError
from radedit_dicom.flushed import write
from radedit_dicom.readback import part10

FILMS: Final = "films"
MANIFEST: Final = "manifest.csv"
KEY: Final = "offline.csv"
_UID: Final = "sop_instance_uid"
_ARM: Final = ("subject", "kind", "edit", "seed", "level")


def export_films(plan: Plan, folder: Path, progress: Progress) -> dict[str, int]:
    """Write every film that victims are asked about, without identity and under a UID of its own.

    Returns
    -------
    how many were written, and how many were not since text is burned into them

    Raises
    ------
    OutputError
        A folder cannot be written.
    RadEditError
        The run cannot be opened.
    """
    bench, _ = open_bench(plan)
    rows: list[dict[str, str]] = []
    withheld = 0
    with written_to("--export"):
        (folder / FILMS).mkdir(parents=True, exist_ok=True)
    for shown, about in _films(bench, progress):
        try:
            made = object_of(shown.display, shown.film)
        except UnsupportedImageError:
            withheld += 1
            continue
        uid = offline_uid(shown.film.sop_instance_uid)
        made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = UID(uid)
        made.StudyInstanceUID = UID(offline_uid(uid, "study"))
        made.SeriesInstanceUID = UID(offline_uid(uid, "series"))
        file = f"{FILMS}/{uid.rpartition('.')[2]}.dcm"
        with written_to("--export"):
            write(folder / file, [part10(made)])
        rows.append({_UID: uid, "file": file, **about})
    rows.sort(key=lambda row: row["file"])
    with written_to("--export"):
        write(folder / MANIFEST, [_table(rows, (_UID, "file"))])
    with written_to("--out"):
        write(plan.out / KEY, [_table(rows, (_UID, *_ARM))])
    return {"films": len(rows), "withheld": withheld}


def _films(bench: Bench, progress: Progress) -> Iterator[tuple[Shown, dict[str, str]]]:
    total = len(bench.plan.cohort)
    for number in range(total):
        progress(number, total)
        subject = bench.plan.cohort.subject(number)
        for made in bench.maker.films(subject):
            if isinstance(made, Shown):
                arm = {name: str(value) for name, value in asdict(made.arm).items()}
                yield made, {"subject": subject.key, **arm}
    progress(total, total)


def _table(rows: list[dict[str, str]], columns: tuple[str, ...]) -> bytes:
    out = io.StringIO(newline="")
    table = csv.DictWriter(out, columns, extrasaction="ignore", lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    return out.getvalue().encode()
