"""Edits of real films, to be looked at, and what the autoencoder does to such films.

There is no truth here: nobody knows what these patients would look like without a finding. So
what is measured is what must hold for any film (nothing changed outside, no seam), and what the
autoencoder loses. The films come from a folder given by the caller; the package ships none.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as Picture
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    PYDICOM_ROOT_UID,
    ComputedRadiographyImageStorage,
    ExplicitVRLittleEndian,
    generate_uid,
)
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from radedit.lib.bench.cases import NORMAL
from radedit.lib.bench.measures import Image, Mask, border_of
from radedit.lib.cases import EditRequest
from radedit.lib.errors import FilmError, NotFoundError
from radedit.lib.geometry import SquareGrid, stretched
from radedit.lib.lungs import segment_chest
from radedit.lib.pipeline import Editor
from radedit.lib.sources import FilmSources
from radedit_dicom.film import Film, read_film
from radedit_dicom.pixels import to_display

UNSEEN = "01"  # first digits of the patients whom the autoencoder was not trained on
SHOWN = 6
SEED, MILD = 7, 2.0  # the model's own guidance is for simulated films
REMOVAL, ADDITION = "removal", "addition"


@dataclass(frozen=True, eq=False)
class RealFilm:
    """A real film as its folder has it.

    Attributes
    ----------
    name, patient : of the folder's index; neither is a person's
    film : in memory, as a CR object would bring it
    """

    name: str
    patient: str
    film: Film

    @property
    def is_unseen(self) -> bool:
        """Whether the autoencoder was not trained on this patient."""
        return self.patient[0] in UNSEEN


@dataclass(frozen=True, eq=False)
class Task:
    """One edit of a real film: half a lung field, the heart kept.

    Attributes
    ----------
    prompt : what is asked for
    before : what the film is said to show, to the inversion and the score; a claim, since nobody
        read these films for us
    side : the patient's lung that is edited, its lower half
    parameters : over the model's defaults
    """

    prompt: str
    before: str
    side: str
    parameters: Mapping[str, Any] = field(default_factory=dict)


TASKS: Mapping[str, Task] = {
    REMOVAL: Task(NORMAL, "Right lower lobe consolidation", "right", {"guidance": MILD}),
    ADDITION: Task("Left lower lobe consolidation", NORMAL, "left", {"guidance": MILD}),
}


def read_films(folder: Path) -> list[RealFilm]:
    """Read `index.csv` and the 8-bit `images/*.png` it names, in its order.

    Raises
    ------
    NotFoundError
        There is no index, it names no film, or a film is missing.
    """
    try:
        with (folder / "index.csv").open(newline="") as table:
            rows = list(csv.DictReader(table))
        films = [_read(folder, row) for row in rows]
    except (OSError, KeyError):
        films = []
    if not films:
        raise NotFoundError(
            "the folder of real films needs an index.csv with the columns image_id, patient_id "
            "and projection, and images/IMAGE_ID.png for each row; docs/phantom.md names one."
        )
    return films


def _read(folder: Path, row: Mapping[str, str]) -> RealFilm:
    pixels = np.asarray(Picture.open(folder / "images" / f"{row['image_id']}.png").convert("L"))
    film = read_film(_object(row["image_id"], row["projection"].upper(), pixels))
    return RealFilm(row["image_id"], row["patient_id"], film)


def _object(name: str, projection: str, pixels: NDArray[np.uint8]) -> Dataset:
    """What a reader of films asks of a CR object; it is never stored."""
    film = Dataset()
    film.SOPClassUID, film.Modality = ComputedRadiographyImageStorage, "CR"
    film.SOPInstanceUID = generate_uid(PYDICOM_ROOT_UID, [f"bench real {name}"])
    film.SeriesInstanceUID = generate_uid(PYDICOM_ROOT_UID, [f"bench real series {name}"])
    film.StudyInstanceUID = generate_uid(PYDICOM_ROOT_UID, [f"bench real study {name}"])
    film.PatientName, film.PatientID = "", name
    film.BodyPartExamined, film.ViewPosition = "CHEST", projection
    film.PatientOrientation = ["L", "F"]
    film.SamplesPerPixel, film.PhotometricInterpretation = 1, "MONOCHROME2"
    film.Rows, film.Columns = pixels.shape
    film.BitsAllocated, film.BitsStored, film.HighBit = 16, 8, 7
    film.PixelRepresentation = 0
    film.WindowCenter, film.WindowWidth = "128", "256"
    film.add_new("PixelData", "OW", pixels.astype("<u2").tobytes())
    film.file_meta = FileMetaDataset()
    film.file_meta.MediaStorageSOPClassUID = film.SOPClassUID
    film.file_meta.MediaStorageSOPInstanceUID = film.SOPInstanceUID
    film.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return film


def shown(films: Sequence[RealFilm], count: int = SHOWN) -> list[RealFilm]:
    """Films to show: one each of the first patients whom the autoencoder was not trained on."""
    first = {film.patient: film for film in reversed(films) if film.is_unseen}
    return [first[patient] for patient in sorted(first)][:count]


def round_trip(editor: Editor, model: str | None, film: Film) -> dict[str, float]:
    """Encode and decode one film, on the model's own grid.

    Returns
    -------
    "psnr" (dB) and "ssim" (Wang 2004, window 7) inside the film, display range 1
    """
    backbone, display = editor.backbone(model), to_display(film)
    grid = SquareGrid(*film.shape, backbone.image_size)
    image = grid.down(stretched(display, ~film.padding)[0])
    z = backbone.encode(torch.from_numpy(image * 2 - 1)[None, None])
    decoded = backbone.decode(z).float().cpu().numpy()[0, 0] / 2 + 0.5
    inside = grid.mask_down(np.ones(film.shape, bool))
    rows, cols = (np.flatnonzero(inside.any(axis)) for axis in (1, 0))
    window = np.s_[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1]
    pair = image[window], decoded.clip(0, 1)[window]
    return {
        "psnr": float(peak_signal_noise_ratio(*pair, data_range=1)),  # type: ignore[no-untyped-call]
        "ssim": float(structural_similarity(*pair, data_range=1)),  # type: ignore[no-untyped-call]
    }


@dataclass(frozen=True, eq=False)
class Looked:
    """One film's edits.

    Attributes
    ----------
    figures : task to "shift" inside the edit mask, "outside" pixels changed, "seam" and "seam
        before" (None: no room), "score" (None: not computed)
    images : "film", and each task's name to its film
    masks : each task's name to its edit mask, and "keep"
    """

    figures: Mapping[str, Mapping[str, float | None]]
    images: Mapping[str, Image]
    masks: Mapping[str, Mask]


def look(editor: Editor, model: str | None, film: Film) -> Looked:
    """Edit one film by every task.

    Raises
    ------
    FilmError
        No lung or no heart was found on it, or what was found cannot be right.
    RadEditError
        The model refuses, or its files are missing.
    """
    before = to_display(film)
    found = segment_chest(before, ~film.padding)
    keep, chest = found["heart"], found["lungs"] | found["heart"]
    images, masks = {"film": before}, {"keep": keep}
    figures: dict[str, dict[str, float | None]] = {}
    for name, task in TASKS.items():
        edit = _lower_half(found[task.side])
        request = EditRequest(
            prompt=task.prompt,
            edit_mask="uploaded:edit",
            keep_mask="uploaded:keep",
            invert_prompt=task.before,
            film_text=task.before,
            parameters={"seed": SEED, **task.parameters},
        )
        sources = FilmSources(film, uploaded={"edit": edit, "keep": keep})
        edited = editor.edit(film, request, sources)
        after = to_display(film, edited.stored)
        images[name], masks[name] = after, edited.edit
        border = border_of(edited.edit, before, chest, SEED)
        figures[name] = {
            "shift": edited.fidelity.mean_shift_in_edit,
            "outside": float(edited.fidelity.changed_outside_support),
            "seam before": border.seam(before).z,
            "seam": border.seam(after).z,
            "score": edited.directional.directional,
        }
    return Looked(figures, images, masks)


def _lower_half(mask: Mask) -> Mask:
    rows = np.flatnonzero(mask.any(axis=1))
    lower = mask.copy()
    lower[: (rows[0] + rows[-1]) // 2] = False
    return lower


def measure(
    editor: Editor,
    model: str | None,
    films: Sequence[RealFilm],
    progress: Callable[[int, int], None],
) -> tuple[list[dict[str, Any]], list[Looked]]:
    """Send every film through the autoencoder, and edit those that are shown.

    Returns
    -------
    one row per film ("name", "unseen", "psnr", "ssim"), and the edits of the shown ones, whose
    rows have "edits" too; a film without lungs and a heart that can be right is not shown

    Raises
    ------
    RadEditError
        As `look`.
    """
    chosen = {film.name for film in shown(films)}
    rows, edits = list[dict[str, Any]](), list[Looked]()
    for number, film in enumerate(films):
        progress(number, len(films))
        row = {"name": film.name, "unseen": film.is_unseen, **round_trip(editor, model, film.film)}
        if film.name in chosen:
            try:
                edits.append(look(editor, model, film.film))
                row["edits"] = edits[-1].figures
            except FilmError as error:
                row["edits"], row["refused"] = {}, str(error)
        rows.append(row)
    progress(len(films), len(films))
    return rows, edits
