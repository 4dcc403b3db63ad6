"""Films for the tests of viewers, and looks at the pages that show them.

`TEST_PICTURES=docs/pictures` keeps pictures of the pages, made of the whole film then.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import requests
from orthanc import Orthanc
from PIL import Image
from playwright.sync_api import Locator, Page
from pydicom.dataset import Dataset
from radedit_server import RadEditServer

ROOT = "1.2.826.0.1.3680043.10.1.8"
PICTURES = os.environ.get("TEST_PICTURES")


@dataclass(frozen=True)
class Shown:
    """A film as an archive holds it.

    Attributes
    ----------
    name : of the patient, by whom the worklist finds it
    study, instance : UIDs
    shape : rows and columns
    """

    name: str
    study: str
    instance: str
    shape: tuple[int, int]


@dataclass
class Place:
    """The server in front of an Orthanc with films.

    Attributes
    ----------
    server : listens at `server.url` and wants `TOKEN`
    orthanc : what it serves
    films : by kind
    """

    server: RadEditServer
    orthanc: Orthanc
    films: dict[str, Shown]

    def held(self, study: str, modality: str) -> list[Dataset]:
        """Read the objects of one modality that Orthanc holds in a study, newest last."""
        answer = requests.get(
            f"{self.orthanc.dicom_web}/instances",
            params={"StudyInstanceUID": study, "Modality": modality},
            headers={"Accept": "application/dicom+json"},
            timeout=60,
        )
        uids = [row["00080018"]["Value"][0] for row in answer.json()] if answer.content else []
        found = [pydicom.dcmread(BytesIO(self.orthanc.file(uid))) for uid in uids]
        return sorted(found, key=lambda d: (d.get("ContentDate"), d.get("ContentTime") or ""))


def real_film(rg1: Path, kind: str) -> Dataset:
    """Make a film of the real one: its pixels, another identity, less of them.

    monochrome1: as it is, without frame of reference and with a pixel spacing of 0, and of a
    size at which the frames of its masks are no whole number of bytes. monochrome2: black and
    white turned round, with a frame of reference and a spacing.
    """
    film = pydicom.dcmread(rg1)
    every = 1 if PICTURES else 3
    pixels = film.pixel_array[::every, ::every]
    rows, columns = pixels.shape
    pixels = pixels[: rows - 1 + rows % 2, : columns - 1 + columns % 2]
    number = {"monochrome1": 1, "monochrome2": 2}[kind]
    if kind == "monochrome2":
        pixels = (1 << film.BitsStored) - 1 - pixels
        film.PhotometricInterpretation = "MONOCHROME2"
        film.WindowCenter = (1 << film.BitsStored) - 1 - float(film.WindowCenter)
        film.PixelSpacing = [0.2 * every, 0.2 * every]
        film.ImagerPixelSpacing = film.PixelSpacing
        film.FrameOfReferenceUID = f"{ROOT}.{number}.9"
        if "PresentationLUTShape" in film:
            film.PresentationLUTShape = "IDENTITY"
    film.Rows, film.Columns = pixels.shape
    film.PixelData = pixels.astype("<u2").tobytes()
    film.StudyInstanceUID = f"{ROOT}.{number}"
    film.SeriesInstanceUID = f"{ROOT}.{number}.1"
    film.SOPInstanceUID = film.file_meta.MediaStorageSOPInstanceUID = f"{ROOT}.{number}.1.1"
    film.PatientName, film.PatientID = f"Example^{kind}", kind.upper()
    return film


def keep_picture(page: Page, name: str) -> None:
    """Keep a picture of the page, if pictures are wanted."""
    if PICTURES:
        page.screenshot(path=Path(PICTURES) / f"{name}.png")


def seen(element: Locator) -> np.ndarray:
    """Look at an element: its pixels, int [rows, columns, 3]."""
    return np.asarray(Image.open(BytesIO(element.screenshot())).convert("RGB")).astype(int)


def count_of(picture: np.ndarray, colour: tuple[int, int, int], within: int = 40) -> int:
    """Count the pixels that are nearly of a colour."""
    return int((np.abs(picture - np.array(colour)).max(axis=2) < within).sum())
