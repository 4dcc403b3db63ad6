"""Where the masks of one film come from: tasks, other servers, archives, files and uploads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from radedit.lib.archived import archived_mask
from radedit.lib.errors import MaskError
from radedit.lib.lungs import segment_heart, segment_lungs
from radedit.lib.mask_files import read_mask
from radedit.lib.mask_names import check_uploaded, known_label, known_task
from radedit.lib.network_masks import check_network_masks, check_steering
from radedit.lib.remote import remote_masks
from radedit.lib.remote_access import RemoteAccess, addressed
from radedit_dicom.archive import Archive
from radedit_dicom.film import Film
from radedit_dicom.pixels import to_display

Mask = NDArray[np.bool_]
Task = Callable[[Film], Mapping[str, Mask]]
"""A segmentation task: a film to its labels, each bool [rows, cols]."""


def embedded_lungs(film: Film) -> Mapping[str, Mask]:
    """The embedded segmenter's lungs as a task, with the labels left, right and lungs."""
    found = _upright(film, segment_lungs)
    return {label: mask for label, mask in found.items() if label != "heart"}


def embedded_heart(film: Film) -> Mapping[str, Mask]:
    """The embedded segmenter's heart as a task, with the label heart."""
    return _upright(film, lambda display, valid: {"heart": segment_heart(display, valid)})


def _upright(
    film: Film, segment: Callable[[NDArray[np.float32], Mask], Mapping[str, Mask]]
) -> Mapping[str, Mask]:
    """Segment a film as the patient stands: one stored mirrored is turned there and back."""
    display, measured = to_display(film), ~film.padding
    if not film.is_mirrored:
        return segment(display, measured)
    found = segment(np.ascontiguousarray(display[:, ::-1]), np.ascontiguousarray(measured[:, ::-1]))
    return {label: np.ascontiguousarray(mask[:, ::-1]) for label, mask in found.items()}


EMBEDDED_TASKS: Mapping[str, Task] = {
    "heart_segmentation": embedded_heart,
    "lung_segmentation": embedded_lungs,
}


@dataclass
class FilmSources:
    """The `Sources` of the mask grammar for one film.

    A task runs once per film, here or on another server, however many of its labels an
    expression names.

    Parameters
    ----------
    film : the film the masks lie on
    tasks : segmentation tasks by name
    uploaded : masks that came with the request, by name
    archive : where `seg:` looks for segmentations of the film
    remotes : which other servers `remote:` may call
    """

    film: Film
    tasks: Mapping[str, Task] = field(default_factory=lambda: EMBEDDED_TASKS)
    uploaded: Mapping[str, Mask] = field(default_factory=dict)
    archive: Archive | None = None
    remotes: RemoteAccess = field(default_factory=RemoteAccess)
    _results: dict[str, Mapping[str, Mask]] = field(default_factory=dict, repr=False)

    def mask(self, kind: str, name: str) -> Mask:
        """Give one mask: bool [rows, cols] on the film's grid, True = inside.

        Raises
        ------
        NotFoundError
            The task, the label or the segmentation does not exist.
        MaskError
            The file cannot be read as a mask, or this call has no such source.
        SourceError
            The task or the other server failed, or gave no mask of this film.
        FilmError
            What a network drew cannot be what its label says (`network_masks`).
        DicomError
            The archive failed, or its segmentation does not fit the film.
        """
        match kind:
            case "task":
                return self._from_task(name)
            case "remote":
                return self._from_server(name)
            case "seg":
                return self._from_archive(name)
            case "file":
                return read_mask(name, self.film)
            case "uploaded":
                check_uploaded(name, self.uploaded)
                return self.uploaded[name]
        raise MaskError(f"there is no source '{kind}:'; use a shape, task:, file: or an upload.")

    def _from_task(self, name: str) -> Mask:
        task, label = known_task(name, self.tasks)
        if task not in self._results:
            self._results[task] = self.tasks[task](self.film)
        is_checked = self.tasks[task] is EMBEDDED_TASKS.get(task)
        return self._usable(task, self._results[task], label, is_checked=is_checked)

    def _from_server(self, name: str) -> Mask:
        task, label = addressed(name, self.remotes)
        key = f"{task.server}/{task.name}"
        if key not in self._results:
            self._results[key] = remote_masks(task, self.film, self.remotes)
        return self._usable(task.name, self._results[key], label)

    def _usable(
        self, task: str, masks: Mapping[str, Mask], label: str, *, is_checked: bool = False
    ) -> Mask:
        """Give what a network drew of a label, or of all ("") together, or refuse it."""
        wanted = [known_label(label, task, masks)] if label else list(masks)
        if not is_checked:
            check_network_masks(task, masks, self.film, wanted)
        mask = np.logical_or.reduce([masks[name] for name in wanted])
        check_steering(task, label, mask, self.film)
        return np.asarray(mask)

    def _from_archive(self, name: str) -> Mask:
        if self.archive is None:
            raise MaskError(
                "seg: takes masks from an archive and this call has none; name the file with "
                "file:PATH, or work on an archive."
            )
        return archived_mask(name, self.film, self.archive)
