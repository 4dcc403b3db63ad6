"""A film as it is sent to a victim elsewhere: without its patient, but still marked synthetic."""

from __future__ import annotations

import io
from collections.abc import Mapping

import numpy as np
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    ExplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
    generate_uid,
)

from radedit.lib.victims.preprocessing import checked
from radedit.lib.victims.protocol import Display, Mask
from radedit_dicom.deidentified import deidentified
from radedit_dicom.film import Film
from radedit_dicom.pixels import read_film

WHITE = 65535
#: Nodes refuse objects without a patient; this one is nobody.
PATIENT_ID, PATIENT_NAME = "RADEDIT-TEST", "RadEdit^Test"
SENT_DICOM = (
    "the film's stored values and presentation as a DICOM object without its identity; the "
    "model's own preprocessing is not known"
)


def png(display: Display, bits: int = 16, channels: int = 1) -> bytes:
    """Write a display as a PNG, its largest value = white.

    Parameters
    ----------
    display : float32 [rows, cols], 0 to 1
    bits : 8 or 16
    channels : 1, or 3 equal ones of 8 bits
    """
    grey = levels(display) if bits == 16 else np.rint(levels(display) / 257).astype(np.uint8)
    out = io.BytesIO()
    Image.fromarray(grey if channels == 1 else np.stack([grey] * channels, axis=-1)).save(
        out, "PNG"
    )
    return out.getvalue()


def levels(display: Display) -> np.ndarray[tuple[int, ...], np.dtype[np.uint16]]:
    """Give a display in 65536 levels: uint16 [rows, cols]."""
    return np.rint(np.clip(checked(display), 0, 1) * WHITE).astype(np.uint16)


def film_of(display: Display) -> Film:
    """Make a film that is displayed so, for victims that are asked in DICOM.

    Parameters
    ----------
    display : float32 [rows, cols], 0 to 1
    """
    pixels = levels(display)
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = ComputedRadiographyImageStorage
    for name in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        setattr(dataset, name, generate_uid())
    dataset.Modality, dataset.BodyPartExamined, dataset.ViewPosition = "CR", "CHEST", "PA"
    dataset.PatientOrientation = ["L", "F"]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, 0
    dataset.WindowCenter, dataset.WindowWidth = (WHITE + 1) / 2, WHITE + 1
    dataset.PixelData = pixels.astype("<u2").tobytes()
    dataset["PixelData"].VR = "OW"
    return read_film(dataset)


def as_displayed(segments: Mapping[str, Mask], film: Film | None) -> dict[str, Mask]:
    """Turn segments of a film that was sent in DICOM round to lie as its display does.

    A film that is stored mirrored goes as it is stored, but its display, by the Protocol, has
    the patient's left on the right.
    """
    if film is None or not film.is_mirrored:
        return dict(segments)
    return {label: np.ascontiguousarray(mask[:, ::-1]) for label, mask in segments.items()}


def object_of(display: Display, film: Film | None) -> Dataset:
    """Make the DICOM object that is sent.

    Parameters
    ----------
    display : used when there is no film
    film : sent with its own stored values

    Returns
    -------
    pydicom.Dataset
        With ``file_meta``, new UIDs and nobody as its patient. A Secondary Capture, as an edit
        is written, goes as a CR, since models of films take no other; synthetic stays said.

    Raises
    ------
    UnsupportedImageError
        Text is burned into the film, so it must not be sent.
    """
    source = film_of(display) if film is None else film
    dataset = deidentified(source)
    dataset.PatientID, dataset.PatientName = PATIENT_ID, PATIENT_NAME
    if source.header.get("SOPClassUID") == SecondaryCaptureImageStorage:
        dataset.SOPClassUID, dataset.Modality = ComputedRadiographyImageStorage, "CR"
    if source.header.get("SyntheticData") == "YES":
        dataset.SyntheticData = "YES"
    return dataset
