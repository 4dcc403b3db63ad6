"""Edit every film of a folder; one file's trouble is its own."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from radedit.lib.cases import Case, EditRequest
from radedit.lib.deliver import Outbox
from radedit.lib.errors import RadEditError
from radedit.lib.picture import draw
from radedit.lib.pipeline import Editor
from radedit.lib.sources import FilmSources
from radedit_dicom.errors import DicomError
from radedit_dicom.film import read_film


@dataclass(frozen=True)
class Bulk:
    """What is the same for every film: the request, the editor, and where results go."""

    request: EditRequest
    editor: Editor
    outbox: Outbox
    picture: bool = False

    def rows(self, paths: Sequence[Path]) -> Iterator[dict[str, Any]]:
        """Edit one file after the other and give a row on each.

        Yields
        ------
        "input" and the summary of the edit; or "already_there" with the edit's id, where an
        earlier run made it; or "passed_over", why the file is no film to edit; or "failed",
        why the edit was not made.
        """
        for path in paths:
            yield {"input": str(path), **self._outcome(path)}

    def _outcome(self, path: Path) -> dict[str, Any]:
        try:
            film = read_film(path)
        except DicomError as error:
            return {"passed_over": str(error)}
        try:
            self.outbox.check_film(film)
            prepared = self.editor.prepare(Case(film, self.request, FilmSources(film)))
            edit_id = self.outbox.edit_id(self.editor.edit_id(prepared))
            if edit_id in self.outbox.known:
                return {"edit_id": edit_id, "already_there": True}
            delivered = self.outbox.deliver(self.editor.edit_batch([prepared])[0])
            summary = delivered.summary()
            if self.picture:
                path = self.outbox.archive.folder / f"{edit_id}.png"
                draw(delivered.edited, path)
                summary["picture"] = str(path)
        except (RadEditError, DicomError) as error:
            return {"failed": str(error)}
        except Exception as error:  # the outermost edge of one film
            return {"failed": unexpected(error)}
        return summary


def unexpected(error: Exception) -> str:
    """Name an error that is ours to mend, by type and place, without the values it quotes."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    return (
        f"unexpected {type(error).__name__} in {Path(place.filename).name}, line {place.lineno}; "
        "this is a defect of radedit, please report it."
    )
