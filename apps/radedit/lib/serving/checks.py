"""What would make a job fail for certain, said before it is queued."""

from __future__ import annotations

import io
from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import Final

from pydicom.dataset import Dataset

from radedit.lib import masks
from radedit.lib.deliver import Manner
from radedit.lib.errors import RadEditError
from radedit.lib.jobs.model import JobRequest
from radedit.lib.mask_files import read_png
from radedit.lib.mask_grammar import parse, size_of
from radedit.lib.mask_names import KnownNames
from radedit.lib.prompt_check import PromptCheck
from radedit.lib.served import ServedPlace
from radedit.lib.settings import Settings
from radedit.lib.shared_call import SharedCall
from radedit.lib.shelf import SLOW_S
from radedit_dicom.errors import DicomError
from radedit_dicom.film import check_header, pixel_spacing
from radedit_dicom.parsing import parse as parse_object

HEADER_S: Final = 2.0  # how long a request waits for the header of an archive's film
_KNOWN_S: Final = 60.0  # how long a header is believed
_HEADERS: Final = 64  # films whose headers are believed
_MOST_DRAWN: Final = 10**8  # pixels that masks are drawn on to see that they are empty


class JobCheck:
    """Refuses what a worker would refuse, in its words, as far as that is seen quickly.

    A film whose header is not to be had within `HEADER_S` is left to the worker.

    Parameters
    ----------
    settings : name the models and the other servers
    place : where the films come from
    """

    def __init__(self, settings: Settings, place: ServedPlace) -> None:
        self._settings, self._place = settings, place
        self._prompts = PromptCheck(settings)
        self._archived = lru_cache(_HEADERS)(self._look)

    def check(self, request: JobRequest, tasks: Mapping[str, Collection[str] | None]) -> None:
        """Check a request.

        Parameters
        ----------
        tasks : that masks come from, as `KnownNames` has them

        Raises
        ------
        RadEditError
            A prompt or a mask is refused, or names what is not there.
        DicomError
            The film is refused.
        """
        self._prompts.check(request.model, request.prompt, request.invert_prompt, request.film_text)
        names = KnownNames(tasks, request.masks, self._settings.remotes)
        names.check(request.edit_mask)
        names.check(request.keep_mask)
        header = self._header(request.image)
        if header is None:
            _sent(request, None)
            return
        check_header(header)
        manner = Manner(request.study_mode, self._settings.pseudonym_key)
        manner.destination.check_header(header)
        _check_masks(request, masks.Frame(header.Rows, header.Columns, pixel_spacing(header)))

    def _header(self, image: str) -> Dataset | None:
        """Give a film's header, None = it is not to be had quickly."""
        folder, shelf = self._place.folder, self._place.shelf
        if folder is not None:
            return parse_object(folder.path(image), pixels=False)
        if shelf is None or not shelf.is_answering():
            return None
        try:
            return self._archived(image).value(HEADER_S)
        except (TimeoutError, RadEditError, DicomError):
            return None  # the worker asks again, and says what it hears

    def _look(self, image: str) -> SharedCall[Dataset | None]:
        shelf = self._place.shelf
        assert shelf is not None
        return SharedCall(lambda: shelf.header(image), _KNOWN_S, SLOW_S)


def _check_masks(request: JobRequest, frame: masks.Frame) -> None:
    """Refuse masks that leave nothing to edit, whatever the sources give that are asked later."""
    sent = _sent(request, (frame.rows, frame.cols))
    edit, keep = (parse(e) if e else None for e in (request.edit_mask, request.keep_mask))
    drawn = sum(size_of(node) for node in (edit, keep) if node is not None)
    if drawn * frame.rows * frame.cols > _MOST_DRAWN:
        return

    def known(kind: str, name: str) -> masks.Mask | None:
        return sent[name] if kind == "uploaded" else None

    most = None if edit is None else masks.bounds(edit, frame, known)[1]
    kept = None if keep is None else masks.bounds(keep, frame, known)
    masks.check_pair(most, kept, frame)


def _sent(request: JobRequest, shape: tuple[int, int] | None) -> dict[str, masks.Mask]:
    return {name: read_png(io.BytesIO(png), name, shape) for name, png in request.masks.items()}
