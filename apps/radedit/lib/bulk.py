"""Edit the chosen films of a folder or an archive; one film's trouble is its own."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from radedit.lib.cases import Case, EditRequest
from radedit.lib.deliver import Outbox
from radedit.lib.errors import RadEditError
from radedit.lib.masks import Sources
from radedit.lib.picture import draw
from radedit.lib.pipeline import Editor
from radedit.lib.selection import Selection
from radedit.lib.sources import FilmSources
from radedit_dicom.errors import DicomError
from radedit_dicom.film import Film, read_film


@dataclass(frozen=True)
class Bulk:
    """What is the same for every film.

    Attributes
    ----------
    request, editor, outbox : what to do, with what, and where results go
    pictures : folder for a picture of each edit; None = none are drawn
    sources : where a film's masks come from
    """

    request: EditRequest
    editor: Editor
    outbox: Outbox
    pictures: Path | None = None
    sources: Callable[[Film], Sources] = FilmSources

    def rows(self, selection: Selection) -> Iterator[dict[str, Any]]:
        """Edit one film after the other and give a row on each object.

        Yields
        ------
        "input" and the summary of the edit; or "already_there" with the edit's id, where an
        earlier run made it; or "passed_over", why the object is no film to edit; or
        "failed", why the edit was not made.
        """
        for name, path in selection.films.items():
            yield {"input": name, **self._outcome(path)}
        yield from ({"input": name, "failed": why} for name, why in selection.failed.items())
        yield from (
            {"input": name, "passed_over": why} for name, why in selection.passed_over.items()
        )

    def _outcome(self, path: Path) -> dict[str, Any]:
        try:
            film = read_film(path)
            self.outbox.check_film(film)
            began = time.perf_counter()
            prepared = self.editor.prepare(Case(film, self.request, self.sources(film)))
            masked = time.perf_counter()
            edit_id = self.outbox.edit_id(self.editor.edit_id(prepared))
            if self.outbox.held(film, edit_id) is not None:
                return {"edit_id": edit_id, "already_there": True}
            edited = self.editor.edit_batch([prepared])[0]
            before_storing = time.perf_counter()
            delivered = self.outbox.deliver(edited)
            stored = time.perf_counter()
        except (RadEditError, DicomError) as error:
            return {"failed": str(error)}
        except Exception as error:  # the outermost edge of one film
            return {"failed": unexpected(error)}
        summary = delivered.summary()
        summary["seconds"] |= {
            "masks": round(masked - began, 3),
            "store": round(stored - before_storing, 3),
        }
        if self.pictures is not None:
            target = self.pictures / f"{edit_id}.png"
            draw(delivered.edited, target)
            summary["picture"] = str(target)
        return summary


def unexpected(error: Exception) -> str:
    """Name an error that is ours to mend, by type and place, without the values it quotes."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    return (
        f"unexpected {type(error).__name__} in {Path(place.filename).name}, line {place.lineno}; "
        "this is a defect of radedit, please report it."
    )
