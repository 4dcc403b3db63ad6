"""Edits of the films in a MRML scene: what the module does without a window.

The scene is an argument, so that all of it also runs in Slicer's Python package without the
application. Pixels need no turning: Slicer reads a film with its rows and columns as they are
in the file, and segments are exported onto the volume's own grid, wherever they were drawn.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import slicer
import vtk
from vtk.util import numpy_support

from .client import Client, FilmId, Job, ServerError
from .parameter import DRAWN_EDIT, DRAWN_KEEP, Parameter
from .segments import masks_of

UIDS_ATTRIBUTE = "DICOM.instanceUIDs"  # as Slicer's DICOM module marks what it loads
COLOURS = {"edit mask": (0.95, 0.45, 0.10), "keep mask": (0.10, 0.65, 0.35)}
OTHER_COLOUR = (0.30, 0.55, 0.95)
_INSIDE = 1


class EditError(Exception):
    """The edit cannot be asked for or shown; its text is a sentence for a person."""


@dataclass(frozen=True)
class Drawn:
    """Segments that were drawn: together they are one mask."""

    segmentation: slicer.vtkMRMLSegmentationNode
    segment_ids: tuple[str, ...]


@dataclass(frozen=True)
class Shown:
    """What an edit put into the scene."""

    volume: slicer.vtkMRMLScalarVolumeNode
    segmentation: slicer.vtkMRMLSegmentationNode


class Logic:
    """Edits films of one scene on one server.

    Parameters
    ----------
    scene : vtkMRMLScene
    client : Client
    """

    def __init__(self, scene: slicer.vtkMRMLScene, client: Client) -> None:
        self.scene = scene
        self.client = client

    def load_film(self, film: FilmId) -> slicer.vtkMRMLScalarVolumeNode:
        """Fetch a film and put it into the scene.

        Raises
        ------
        ServerError
            The server does not give it.
        EditError
            Slicer cannot read it.
        """
        volume = self._volume(self.client.instance(film), film.title or "Film")
        volume.SetAttribute(UIDS_ATTRIBUTE, film.sop_uid)
        return volume

    def start(
        self,
        parameter: Parameter,
        volume: slicer.vtkMRMLScalarVolumeNode,
        edit: Drawn | None = None,
        keep: Drawn | None = None,
    ) -> Job:
        """Ask the server for an edit of a loaded film.

        Parameters
        ----------
        parameter : Parameter
            Its masks are replaced by those drawn.
        volume : loaded from DICOM; found on the server by its SOP Instance UID
        edit, keep : drawn masks

        Raises
        ------
        EditError
            The prompt or a mask is empty, or the volume is no film.
        ServerError
            The server refuses, fails or cannot be reached.
        """
        if not parameter.prompt.strip():
            raise EditError("Say in the prompt what should be seen.")
        masks = {}
        if edit is not None:
            masks["edit"] = self.mask(edit, volume)
            parameter = replace(parameter, edit_mask=DRAWN_EDIT)
        if keep is not None:
            masks["keep"] = self.mask(keep, volume)
            parameter = replace(parameter, keep_mask=DRAWN_KEEP)
        job = self.client.submit(parameter.request(sop_uid_of(volume), masks))
        # The same request is the same job: one that was cancelled is meant to run after all.
        return self.client.retry(job.id) if job.is_over and not job.is_done else job

    def show(self, job: Job, original: slicer.vtkMRMLScalarVolumeNode) -> Shown:
        """Load a finished edit: its film beside the original, its masks as a segmentation.

        Raises
        ------
        EditError
            The job is not done, or its film is not on the original's grid.
        ServerError
            The archive does not give the result.
        """
        if not job.is_done:
            raise EditError(job.error or f"The edit is {job.state} and has no result.")
        uids, series = job.result["uids"], job.result["series"]
        objects = {
            kind: self.client.instance(FilmId(uids["study"], series[kind], uids[kind]))
            for kind in ("sc", "seg")
        }
        prompt = str(job.result.get("parameters", {}).get("prompt", "edited"))
        volume = self._volume(objects["sc"], f"RadEdit: {prompt}")
        volume.SetAttribute(UIDS_ATTRIBUTE, uids["sc"])
        try:
            self._lay_like(volume, original)
            masks = masks_of(objects["seg"], shape_of(original))
        except (EditError, ValueError) as error:
            self.scene.RemoveNode(volume)
            raise EditError(str(error)) from error
        return Shown(volume, self._segmentation(masks, volume, f"RadEdit masks: {prompt}"))

    def mask(self, drawn: Drawn, volume: slicer.vtkMRMLScalarVolumeNode) -> np.ndarray:
        """Bring drawn segments onto the film's own pixels.

        Returns
        -------
        bool [rows, columns], True = inside any of the segments

        Raises
        ------
        EditError
            Nothing is drawn on the film, or the volume is no film.
        """
        rows, columns = shape_of(volume)
        ids = vtk.vtkStringArray()
        for segment_id in drawn.segment_ids:
            ids.InsertNextValue(segment_id)
        merged = slicer.vtkOrientedImageData()
        if drawn.segment_ids:  # no ids would mean: all of them
            slicer.vtkSlicerSegmentationsModuleLogic.GenerateMergedLabelmapInReferenceGeometry(
                drawn.segmentation,
                volume,
                ids,
                slicer.vtkSegmentation.EXTENT_REFERENCE_GEOMETRY,
                merged,
            )
        inside = np.zeros((rows, columns), dtype=bool)
        if merged.GetNumberOfPoints() == rows * columns:
            scalars = merged.GetPointData().GetScalars()
            inside = numpy_support.vtk_to_numpy(scalars).reshape(rows, columns) != 0
        if not inside.any():
            raise EditError("The mask is empty on this film; draw a segment on it first.")
        return inside

    def _volume(self, content: bytes, name: str) -> slicer.vtkMRMLScalarVolumeNode:
        """Read a DICOM file's content as Slicer reads one from its database."""
        volume = slicer.vtkMRMLScalarVolumeNode()
        volume.SetName(name)
        storage = slicer.vtkMRMLVolumeArchetypeStorageNode()
        storage.SetSingleFile(1)
        with tempfile.TemporaryDirectory(prefix="radedit-") as folder:
            path = os.path.join(folder, "film.dcm")
            with open(path, "wb") as file:
                file.write(content)
            storage.SetFileName(path)
            if not storage.ReadData(volume):
                raise EditError("Slicer cannot read the film; open it with the DICOM module.")
        self.scene.AddNode(volume)
        volume.CreateDefaultDisplayNodes()
        return volume

    def _lay_like(
        self,
        volume: slicer.vtkMRMLScalarVolumeNode,
        original: slicer.vtkMRMLScalarVolumeNode,
    ) -> None:
        """Give the result the original's place, transform and window; its pixels are the same."""
        if shape_of(volume) != shape_of(original):
            raise EditError("The result is of another size than the film in the scene.")
        place = vtk.vtkMatrix4x4()
        original.GetIJKToRASMatrix(place)
        volume.SetIJKToRASMatrix(place)
        volume.SetAndObserveTransformNodeID(original.GetTransformNodeID())
        shown, model = volume.GetDisplayNode(), original.GetDisplayNode()
        if model is not None:
            shown.SetAutoWindowLevel(False)
            shown.SetWindowLevel(model.GetWindow(), model.GetLevel())
            shown.SetAndObserveColorNodeID(model.GetColorNodeID())

    def _segmentation(
        self,
        masks: Mapping[str, np.ndarray],
        volume: slicer.vtkMRMLScalarVolumeNode,
        name: str,
    ) -> slicer.vtkMRMLSegmentationNode:
        node = slicer.vtkMRMLSegmentationNode()
        node.SetName(name)
        self.scene.AddNode(node)
        node.CreateDefaultDisplayNodes()
        node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
        node.SetAndObserveTransformNodeID(volume.GetTransformNodeID())
        for label, mask in masks.items():
            colour = COLOURS.get(label.lower(), OTHER_COLOUR)
            node.AddSegmentFromBinaryLabelmapRepresentation(oriented(mask, volume), label, colour)
        return node


def sop_uid_of(volume: slicer.vtkMRMLScalarVolumeNode) -> str:
    """Give the SOP Instance UID of the one object that a volume was loaded from.

    Raises
    ------
    EditError
        It was not loaded from DICOM, or from several objects.
    """
    uids = (volume.GetAttribute(UIDS_ATTRIBUTE) or "").split()
    if len(uids) != 1:
        raise EditError(
            "The volume was not loaded from one DICOM film; load the film with the DICOM module "
            "or from the list of studies."
        )
    return uids[0]


def shape_of(volume: slicer.vtkMRMLScalarVolumeNode) -> tuple[int, int]:
    """Rows and columns of a film; EditError when the volume is none."""
    image = volume.GetImageData()
    columns, rows, slices = image.GetDimensions() if image is not None else (0, 0, 0)
    if slices != 1 or image.GetNumberOfScalarComponents() != 1:
        raise EditError("The volume is not one grey film; choose a chest radiograph.")
    return rows, columns


def oriented(
    mask: np.ndarray, volume: slicer.vtkMRMLScalarVolumeNode
) -> slicer.vtkOrientedImageData:
    """Give a mask on a film's pixels the place that the film has in the scene.

    Parameters
    ----------
    mask : bool [rows, columns]
    volume : the film
    """
    rows, columns = mask.shape
    image = slicer.vtkOrientedImageData()
    image.SetDimensions(columns, rows, 1)
    image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
    pixels = numpy_support.vtk_to_numpy(image.GetPointData().GetScalars())
    pixels[:] = np.where(mask, _INSIDE, 0).ravel()
    place = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(place)
    image.SetGeometryFromImageToWorldMatrix(place)
    return image


def drawn_segments(
    segmentation: slicer.vtkMRMLSegmentationNode | None, segment_ids: Sequence[str]
) -> Drawn | None:
    """Name drawn segments; None when no segmentation or segment was chosen."""
    if segmentation is None or not segment_ids:
        return None
    return Drawn(segmentation, tuple(segment_ids))


__all__ = ["Drawn", "EditError", "Logic", "ServerError", "Shown", "drawn_segments", "sop_uid_of"]
