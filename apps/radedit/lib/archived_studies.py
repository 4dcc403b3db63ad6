"""An archive as MONAI Label's datastore.

An image's id is its SOP Instance UID: one series may hold a PA and a lateral film. Nothing in
the archive is replaced, and nothing is removed but labels that were saved here. Notes that
MONAI Label's sample strategies make on images are kept in memory, for an archive has no place
for them.
"""

from __future__ import annotations

import io
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fastapi import HTTPException
from monailabel.interfaces.datastore import Datastore, DefaultLabelTag

from radedit.lib.errors import RadEditError
from radedit.lib.mask_files import label_numbers, read_labels
from radedit.lib.shared_call import SharedCall
from radedit.lib.shelf import SLOW_S, Label, Shelf
from radedit.lib.studies import check_name
from radedit_dicom.archive import Removing
from radedit_dicom.errors import DicomError

_TAG_LENGTH = 50  # of what fits behind our words into a series description
STATUS_S = 2.0  # how long counting may hold up a request
_FINAL = DefaultLabelTag.FINAL.value


class ArchivedStudies(Datastore):
    """The films of a shelf, and their labels; a label's id is its film's.

    Every method answers what is refused, and every trouble with the archive, with an
    HTTPException of the error's own status and sentence.

    Parameters
    ----------
    shelf : the archive's films
    """

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf
        self._status = SharedCall(self._counted, 0.0, SLOW_S)
        self._info: dict[str, dict[str, Any]] = {}
        self._name, self._description = "archive", "Chest radiographs of an archive"

    def name(self) -> str:
        """Give the name of the data set."""
        return self._name

    def set_name(self, name: str) -> None:
        """Name the data set, until the server ends."""
        self._name = name

    def description(self) -> str:
        """Describe the data set."""
        return self._description

    def set_description(self, description: str) -> None:
        """Describe the data set, until the server ends."""
        self._description = description

    def list_images(self) -> list[str]:
        """List the films by SOP Instance UID."""
        with _refusals():
            return list(self.shelf.films())

    def get_image_uri(self, image_id: str) -> str:
        """Give the path of a film, fetched if need be."""
        with _refusals():
            return str(self.shelf.path(image_id))

    def get_image(self, image_id: str, params: Any = None) -> io.BytesIO:
        """Give the bytes of a film."""
        return io.BytesIO(Path(self.get_image_uri(image_id)).read_bytes())

    def get_image_info(self, image_id: str) -> dict[str, Any]:
        """Say where a film is, and what was noted of it; no patient data."""
        with _refusals():
            found = self.shelf.film(image_id)
        return {
            "name": f"{found.sop_instance_uid}.dcm",
            "StudyInstanceUID": found.study_instance_uid,
            "SeriesInstanceUID": found.series_instance_uid,
            "SOPInstanceUID": found.sop_instance_uid,
            "Modality": found.modality,
            **self._info.get(found.sop_instance_uid, {}),
        }

    def update_image_info(self, image_id: str, info: dict[str, Any]) -> None:
        """Note something of a film, until the server ends."""
        with _refusals():
            found = self.shelf.film(image_id)
        self._info.setdefault(found.sop_instance_uid, {}).update(info)

    def get_labels_by_image_id(self, image_id: str) -> dict[str, str]:
        """Give tag to label id of every label of a film."""
        return dict.fromkeys(self._labels(image_id), image_id)

    def get_label_by_image_id(self, image_id: str, tag: str) -> str:
        """Give the label id for a tag, or "" without such a label."""
        return self.get_labels_by_image_id(image_id).get(_plain(tag), "")

    def get_label_uri(self, label_id: str, label_tag: str) -> str:
        """Give the path of a label image (.nii.gz), numbered in the order of the segments."""
        with _refusals():
            return str(self.shelf.label_path(label_id, _plain(label_tag)))

    def get_label(self, label_id: str, label_tag: str, params: Any = None) -> io.BytesIO:
        """Give the bytes of a label image."""
        path = Path(self.get_label_uri(label_id, label_tag))
        return io.BytesIO(path.read_bytes())

    def get_label_info(self, label_id: str, label_tag: str) -> dict[str, Any]:
        """Say which SEG a label is, and the numbers of its segments in the label image."""
        label = self._label(label_id, label_tag)
        return {**_described(label), **self._info.get(label.instance.sop_instance_uid, {})}

    def update_label_info(self, label_id: str, label_tag: str, info: dict[str, Any]) -> None:
        """Note something of a label, until the server ends; the SEG in the archive stays."""
        label = self._label(label_id, label_tag)
        self._info.setdefault(label.instance.sop_instance_uid, {}).update(info)

    def get_labeled_images(
        self, label_tag: str | None = None, labels: list[str] | None = None
    ) -> list[str]:
        """List the films with a label, or with one of a tag or of certain segments."""
        wanted = _plain(label_tag or "")
        return [
            image
            for image in self.list_images()
            if any(
                (not wanted or tag == wanted)
                and (not labels or set(labels) & set(label.note.labels))
                for tag, label in self._labels(image).items()
            )
        ]

    def get_unlabeled_images(
        self, label_tag: str | None = None, labels: list[str] | None = None
    ) -> list[str]:
        """List the films that `get_labeled_images` does not."""
        labeled = set(self.get_labeled_images(label_tag, labels))
        return [image for image in self.list_images() if image not in labeled]

    def datalist(self) -> list[dict[str, Any]]:
        """Give pairs of film and finished label as paths."""
        return [
            {"image": self.get_image_uri(image), "label": self.get_label_uri(image, _FINAL)}
            for image in self.get_labeled_images(_FINAL)
        ]

    def save_label(
        self, image_id: str, label_filename: str, label_tag: str, label_info: dict[str, Any]
    ) -> str:
        """Store a label image as a SEG in the film's study; the archive's answer is checked.

        Parameters
        ----------
        label_info : from a task, `model` and its `params` with `label_names`; from a viewer,
            `label_info`, a list of {"name": ..., "idx": ...}, or `label_names`

        Raises
        ------
        fastapi.HTTPException
            400: the tag is no plain name, or the file no label image of this film; 404: there
            is no such film; 422: it is none that is read; 502: the archive does not take it.
        """
        tag = _plain(label_tag)
        check_name("label_tag", tag)
        if len(tag) > _TAG_LENGTH:
            raise HTTPException(400, f"label_tag is too long; use at most {_TAG_LENGTH} letters.")
        names = _numbers(label_info)
        model = str(label_info.get("model") or "")
        with _refusals():
            self.shelf.save_label(
                image_id, tag, lambda film: read_labels(Path(label_filename), names, film), model
            )
        return image_id

    def remove_label(self, label_id: str, label_tag: str) -> None:
        """Remove a label that was saved here; films and others' objects stay.

        Raises
        ------
        fastapi.HTTPException
            404: there is no such label; 403: another program made it, or the archive offers
            no removal.
        """
        label = self._label(label_id, label_tag)
        archive = self.shelf.archive
        if label.note.tag is None:
            raise HTTPException(403, "Another program made this label; remove it in the archive.")
        if not isinstance(archive, Removing):
            raise HTTPException(
                403, "This kind of archive offers no way to remove objects; do it there."
            )
        with _refusals():
            archive.remove([label.instance])
        self.shelf.refresh()

    def add_image(self, image_id: str, image_filename: str, image_info: dict[str, Any]) -> str:
        """Refuse: films come to the archive by its own ways."""
        raise HTTPException(403, "Films are not stored from here; send them to the archive itself.")

    def remove_image(self, image_id: str) -> None:
        """Refuse: films are originals."""
        raise HTTPException(403, "Films are originals and are not removed over the network.")

    def get_dataset_archive(self, limit_cases: int | None) -> str:
        """Write the films with a finished label, and these, into a ZIP file; the caller removes it.

        Raises
        ------
        fastapi.HTTPException
            404: no film has a finished label.
        """
        images = self.get_labeled_images(_FINAL)[: limit_cases or None]
        if not images:
            raise HTTPException(404, "There are no labelled films to hand out.")
        handle, name = tempfile.mkstemp(suffix=".zip")
        try:
            with open(handle, "wb") as file, zipfile.ZipFile(file, "w") as packed:
                for image in images:
                    packed.write(self.get_image_uri(image), f"image/{image}.dcm")
                    packed.write(self.get_label_uri(image, _FINAL), f"label/{image}.nii.gz")
        except BaseException:
            Path(name).unlink()
            raise
        return name

    def refresh(self) -> None:
        """Ask the archive anew at the next request."""
        self.shelf.refresh()

    def status(self) -> dict[str, Any]:
        """Count films and labels; of an archive that does not answer, as they were when it did.

        MONAI Label's `/info` asks for this, which lists the tasks and must not wait.
        """
        try:
            return self._status.value(STATUS_S)
        except TimeoutError:
            why = "The archive has not answered yet."
        except HTTPException as error:
            why = str(error.detail)
        return {"total": 0, "completed": 0, "label_tags": {}, "unavailable": why}

    def _counted(self) -> dict[str, Any]:
        tags: dict[str, int] = {}
        images = self.list_images()
        for image in images:
            for tag in self._labels(image):
                tags[tag] = tags.get(tag, 0) + 1
        return {"total": len(images), "completed": tags.get(_FINAL, 0), "label_tags": tags}

    def json(self) -> dict[str, Any]:
        """List films and their labels in the form of MONAI Label's own datastores."""
        objects = {
            image: {
                "image": {"ext": ".dcm", "info": self.get_image_info(image)},
                "labels": {
                    tag: {"ext": ".nii.gz", "info": _described(label)}
                    for tag, label in self._labels(image).items()
                },
            }
            for image in self.list_images()
        }
        return {"name": self._name, "description": self._description, "objects": objects}

    def _labels(self, image_id: str) -> dict[str, Label]:
        with _refusals():
            return self.shelf.labels(image_id)

    def _label(self, label_id: str, label_tag: str) -> Label:
        with _refusals():
            return self.shelf.label(label_id, _plain(label_tag))


@contextmanager
def _refusals() -> Iterator[None]:
    """Answer with the error's own status: MONAI Label makes a bare 500 of anything else."""
    try:
        yield
    except (RadEditError, DicomError) as error:
        raise HTTPException(error.http_status, str(error)) from error


def _plain(tag: object) -> str:
    """Give a tag as text; MONAI Label's own are an enumeration."""
    return str(getattr(tag, "value", tag))


def _described(label: Label) -> dict[str, Any]:
    return {
        "name": f"{label.instance.sop_instance_uid}.nii.gz",
        "SeriesInstanceUID": label.instance.series_instance_uid,
        "SOPInstanceUID": label.instance.sop_instance_uid,
        "label_names": {name: number for number, name in enumerate(label.note.labels, start=1)},
    }


def _numbers(label_info: dict[str, Any]) -> dict[str, int]:
    """Find the names of the numbers in a label image, in the forms that clients send."""
    listed = label_info.get("label_info")
    if isinstance(listed, list) and all(isinstance(item, dict) for item in listed):
        said = {
            str(item.get("name")): item.get("idx", number)
            for number, item in enumerate(listed, start=1)
        }
        return label_numbers(said)
    params = label_info.get("params")
    given = params if isinstance(params, dict) else label_info
    return label_numbers(given.get("label_names"))
