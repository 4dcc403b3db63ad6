"""What may be edited: one frontal greyscale chest film, decided from the header alone.

Every rule reads a few attributes and costs nothing, so all of them run before a single
pixel is decoded.
"""

from __future__ import annotations

import re

from pydicom.dataset import Dataset
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import UID

from radedit_dicom import vocabulary as words
from radedit_dicom.errors import AlreadySyntheticError, UnsupportedImageError
from radedit_dicom.examination import check_body_part, check_patient, check_view
from radedit_dicom.uids import is_uid

_NATIVE = frozenset({"1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"})


def check_film(header: Dataset, *, allow_synthetic: bool, max_pixels: int) -> None:
    """Refuse everything that is not one frontal greyscale chest film.

    Parameters
    ----------
    header : pydicom.Dataset
        With ``file_meta``; pixel data may be absent.
    allow_synthetic : bool
        True: a film that says it is synthetic passes, as a Secondary Capture too. A phantom
        passes in any case (`is_phantom`).
    max_pixels : int
        Largest rows x columns x frames that will be decoded.

    Raises
    ------
    AlreadySyntheticError
        The film is marked synthetic and `allow_synthetic` is False.
    UnsupportedImageError
        Any other rule is broken.
    """
    _check_class(header)
    _check_shape(header, max_pixels)
    _check_synthetic(header, allow_synthetic)
    _check_modality(header, allow_synthetic)
    _check_depth(header)
    check_patient(header)
    check_body_part(header)
    check_view(header)
    _check_decoder(header.file_meta.TransferSyntaxUID)


def is_native(syntax: str) -> bool:
    """Tell whether pixel data in this transfer syntax are plain, uncompressed samples."""
    return str(syntax) in _NATIVE


def is_phantom(header: Dataset) -> bool:
    """Tell whether an object shows a phantom as such, and not an edit of one.

    A simulated phantom is synthetic data (PS3.3 C.12.1), but also a quality control subject
    (C.7.1.1), which no edit says of itself.
    """
    is_subject = str(header.get("QualityControlSubject", "")) == "YES"
    return is_subject and str(header.get("ConversionType", "")) != "SYN"


def _check_synthetic(header: Dataset, allow_synthetic: bool) -> None:
    synthetic = header.get("SyntheticData") == "YES" and not is_phantom(header)
    marked = synthetic or header.get("ConversionType") == "SYN"
    if marked and not allow_synthetic:
        raise AlreadySyntheticError(
            "The film is already marked as synthetic (SyntheticData YES or ConversionType SYN); "
            "edit the original film, or ask explicitly for synthetic input."
        )


def _check_class(header: Dataset) -> None:
    sop_class = str(header.get("SOPClassUID", ""))
    if sop_class not in words.FILM_CLASSES:
        raise UnsupportedImageError(
            f"The object's SOP class is {_shown(sop_class)}, but a CR, DX (for presentation) or "
            "single-frame Secondary Capture image is needed; choose the radiograph itself."
        )


def _check_modality(header: Dataset, allow_synthetic: bool) -> None:
    modality = str(header.get("Modality", ""))
    accepted = words.SYNTHETIC_MODALITIES if allow_synthetic else words.FILM_MODALITIES
    if modality not in accepted:
        raise UnsupportedImageError(
            f"The modality is {_shown(modality)}, but {' or '.join(sorted(accepted))} is needed; "
            "choose a chest radiograph."
        )


def _check_shape(header: Dataset, max_pixels: int) -> None:
    samples = _integer(header, "SamplesPerPixel", 1)
    photometric = str(header.get("PhotometricInterpretation", ""))
    if samples != 1 or photometric not in {"MONOCHROME1", "MONOCHROME2"}:
        raise UnsupportedImageError(
            f"The image has {samples} samples per pixel and photometric interpretation "
            f"{_shown(photometric)}, but one greyscale sample (MONOCHROME1 or MONOCHROME2) is "
            "needed; choose a greyscale film."
        )
    frames = _integer(header, "NumberOfFrames", 1)
    rows, columns = _integer(header, "Rows", 0), _integer(header, "Columns", 0)
    if rows < 1 or columns < 1:
        raise UnsupportedImageError(
            f"The object declares {rows} x {columns} pixels, so it holds no image; "
            "choose the image object."
        )
    if rows * columns * max(frames, 1) > max_pixels:
        raise UnsupportedImageError(
            f"The object declares {frames} x {rows} x {columns} pixels, but at most {max_pixels} "
            "are decoded; choose a film within that size."
        )
    if frames != 1:
        raise UnsupportedImageError(
            f"The object has {frames} frames, but exactly one is needed; "
            "choose a single-frame radiograph."
        )


def _check_depth(header: Dataset) -> None:
    allocated, stored = _integer(header, "BitsAllocated", 0), _integer(header, "BitsStored", 0)
    high, signed = _integer(header, "HighBit", -1), _integer(header, "PixelRepresentation", -1)
    good = allocated in (8, 16) and 8 <= stored <= allocated and high == stored - 1
    if not good or signed not in (0, 1):
        raise UnsupportedImageError(
            f"The pixels have {allocated} bits allocated, {stored} stored, high bit {high} and "
            f"representation {signed}, but 8 to 16 bits stored in 8 or 16, with the high bit one "
            "below and representation 0 or 1, are needed; have the film exported again."
        )


def _check_decoder(syntax: UID) -> None:
    if is_native(syntax):
        return
    try:
        available = is_uid(syntax) and get_decoder(syntax).is_available
    except NotImplementedError:
        available = False
    if not available:
        raise UnsupportedImageError(
            f"The pixels are compressed as {_shown(syntax)}, for which no decoder is installed; "
            "send the film uncompressed, or as JPEG, JPEG-LS, JPEG 2000 or RLE."
        )


def _integer(header: Dataset, keyword: str, default: int) -> int:
    value = header.get(keyword)
    if value is None or value == "":
        return default
    try:
        return int(value)
    except (TypeError, ValueError):
        raise UnsupportedImageError(
            f"The attribute {keyword} is no single whole number, which an image needs; "
            "have the film exported again."
        ) from None


def _shown(value: object) -> str:
    """Show a coded value (UID, modality, photometric interpretation), never free text."""
    text = str(value)
    return text if re.fullmatch(r"[A-Z0-9._]{1,64}", text) else "missing or unreadable"
