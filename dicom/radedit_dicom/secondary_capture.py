"""The edited film as a Secondary Capture image (PS3.3 A.8.1).

A Secondary Capture keeps the film's polarity, bit depth and look-up tables, and cannot be
mistaken for an acquisition. highdicom builds it; what it cannot express (bits stored, sign,
conversion type, display) is set afterwards in `_describe`, and nowhere else.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from highdicom.sc import SCImage
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from radedit_dicom import vocabulary as words
from radedit_dicom.errors import ConformanceError, ProvenanceError
from radedit_dicom.examination import frontal_view
from radedit_dicom.film import Film, Stored, positive_pair
from radedit_dicom.lut import lut_entries
from radedit_dicom.marks import (
    Reference,
    code_item,
    instance_item,
    local_time,
    mark,
    refer,
    series_number,
)
from radedit_dicom.pixels import presentation_table
from radedit_dicom.provenance import Provenance, edit_uid, pixel_sha256
from radedit_dicom.study import StudyContext, is_valid, one_line

#: Copied as they are when the source has them.
_COPIED = (
    "BurnedInAnnotation",
    "EstimatedRadiographicMagnificationFactor",
    "RescaleSlope",
    "RescaleIntercept",
    "RescaleType",
    "WindowCenter",
    "WindowWidth",
    "VOILUTFunction",
    "LossyImageCompression",
    "LossyImageCompressionRatio",
    "LossyImageCompressionMethod",
)
_WINDOW = ("WindowCenter", "WindowWidth", "VOILUTFunction")
_LOSSY_SYNTAXES = frozenset(
    {"1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.81"}
)


def build_secondary_capture(
    film: Film,
    edited: Stored,
    provenance: Provenance,
    *,
    study: StudyContext,
    segmentation: Reference | None = None,
) -> Dataset:
    """Build the edited image.

    Parameters
    ----------
    film : Film
        The source.
    edited : uint16 or int32 [rows, columns]
        New stored values, in type, shape and range as ``film.stored``.
    provenance : Provenance
        Its `result_pixel_sha256` is that of `edited`.
    study : StudyContext
        Where the object goes.
    segmentation : Reference, optional
        The SEG that will hold the masks of this edit.

    Returns
    -------
    pydicom.Dataset
        With ``file_meta``, Explicit VR Little Endian; UIDs follow from the edit.

    Raises
    ------
    ConformanceError
        `edited` does not fit the film.
    ProvenanceError
        The record is of other pixels or of another source.
    """
    _check(film, edited, provenance)
    image = SCImage(
        pixel_array=_samples(film, edited),
        photometric_interpretation=film.photometric,
        bits_allocated=int(film.header.BitsAllocated),
        coordinate_system="PATIENT",
        study_instance_uid=study.study_instance_uid,
        series_instance_uid=edit_uid(provenance, "sc-series"),
        series_number=series_number(provenance),
        sop_instance_uid=edit_uid(provenance, "sc"),
        instance_number=1,
        manufacturer=words.MANUFACTURER,
        patient_orientation=("L", "F"),
        transfer_syntax_uid=ExplicitVRLittleEndian,
    )
    mark(image, provenance, study, "")
    _describe(image, film, provenance, study)
    _display(image, film)
    _refer(image, film, segmentation)
    return image


def _check(film: Film, edited: Stored, provenance: Provenance) -> None:
    low, high = film.stored_range
    if edited.shape != film.shape or edited.dtype != film.stored.dtype:
        raise ConformanceError(
            f"The edited pixels are {edited.dtype} {edited.shape}, but the film is "
            f"{film.stored.dtype} {film.shape}; edit the film at its own size and depth."
        )
    if int(edited.min()) < low or int(edited.max()) > high:
        raise ConformanceError(
            f"The edited pixels reach {int(edited.min())} to {int(edited.max())}, but the film's "
            f"{film.bits_stored} bits hold {low} to {high}; clip them before writing."
        )
    if provenance.source_sop_instance_uid != film.sop_instance_uid:
        raise ProvenanceError(
            "The provenance names another source image than the film; record the film's own UID."
        )
    if provenance.source_pixel_sha256 != pixel_sha256(film.stored):
        raise ProvenanceError(
            "The provenance's source hash is not that of the film; hash the film that was edited."
        )
    if provenance.result_pixel_sha256 != pixel_sha256(edited):
        raise ProvenanceError(
            "The provenance's result hash is not that of the edited pixels; hash what is written."
        )


def _samples(film: Film, edited: Stored) -> NDArray[Any]:
    """Give the unsigned samples highdicom takes; a sign goes as two's complement."""
    bits = int(film.header.BitsAllocated)
    if film.signed:
        return edited.astype(f"int{bits}").view(f"uint{bits}")
    return edited.astype(f"uint{bits}")


def _describe(image: Dataset, film: Film, provenance: Provenance, study: StudyContext) -> None:
    header = film.header
    image.Modality = str(header.Modality)
    image.ConversionType = "SYN"
    image.ImageType = ["DERIVED", "SECONDARY", "OTHER"]
    image.QualityControlImage = "YES"
    created = local_time(provenance, study)
    image.ImageComments = one_line(
        f"{words.WARNING}. Edited {created:%Y-%m-%d %H:%M:%S} from the image "
        f"{provenance.source_sop_instance_uid}. Prompt: {provenance.prompt or 'none'}",
        most=10240,
    )
    image.DateOfSecondaryCapture = created.strftime("%Y%m%d")
    image.TimeOfSecondaryCapture = created.strftime("%H%M%S.%f")
    image.BitsStored = film.bits_stored
    image.HighBit = film.bits_stored - 1
    image.PixelRepresentation = int(film.signed)
    image.DerivationDescription = (
        f"Region edited by {provenance.tool} {provenance.tool_version}, method "
        f"{provenance.method}, model {provenance.model}; synthetic, for testing only"
    )[:1024]
    image.DerivationCodeSequence = [
        code_item(words.PIXEL_BY_PIXEL_MASK),
        code_item(words.GENERATIVE_EDIT),
    ]
    orientation = header.get("PatientOrientation")
    image.PatientOrientation = orientation if is_valid(header, "PatientOrientation") else None
    # The gate has found a chest and its view, perhaps in a text that is not copied or in a word
    # that is no defined term (PS3.16 annex L). A chest is no paired structure: no Laterality.
    image.BodyPartExamined, image.ViewPosition = "CHEST", frontal_view(header)
    for name in _COPIED:
        if is_valid(header, name):
            image[name] = header[name]
    _copy_padding(image, film)
    if film.transfer_syntax in _LOSSY_SYNTAXES:
        image.LossyImageCompression = "01"
    _copy_spacing(image, header)


def _copy_spacing(image: Dataset, header: Dataset) -> None:
    """Copy the size of a pixel by what it means in this class (PS3.3 10.7.1.3, C.8.6.2).

    Of a Secondary Capture readers take PixelSpacing, not the detector's; both being equal says
    that nothing was calibrated. The size on a digitised film means what it says in this class
    only, so another's is not copied; nor is a shape of pixels that a size states already.
    """
    names = ["PixelSpacing", "ImagerPixelSpacing"]
    if header.SOPClassUID == image.SOPClassUID:
        names.append("NominalScannedPixelSpacing")
    for name in names:
        if positive_pair(header, name) is not None:
            image[name] = header[name]
    if "PixelSpacing" not in image and "ImagerPixelSpacing" in image:
        image.PixelSpacing = list(image.ImagerPixelSpacing)
        return  # a calibration that the film may describe is not of this spacing
    ratio = positive_pair(header, "PixelAspectRatio")
    if ratio is not None and ratio[0] != ratio[1] and not any(name in image for name in names):
        image.PixelAspectRatio = header.PixelAspectRatio
    if "PixelSpacing" in image and is_valid(header, "PixelSpacingCalibrationType"):
        image.PixelSpacingCalibrationType = str(header.PixelSpacingCalibrationType)
        if is_valid(header, "PixelSpacingCalibrationDescription"):
            image.PixelSpacingCalibrationDescription = header.PixelSpacingCalibrationDescription


def _copy_padding(image: Dataset, film: Film) -> None:
    """Write the padding values with the VR that the pixel representation asks for."""
    if film.padding_range is None:
        return
    first, last = film.padding_range
    low, high = film.stored_range
    if not low <= first <= last <= high:
        return  # no pixel can have them
    image.add_new("PixelPaddingValue", "SS" if film.signed else "US", first)
    if last != first:
        image.add_new("PixelPaddingRangeLimit", "SS" if film.signed else "US", last)


def _display(image: Dataset, film: Film) -> None:
    """Write the look-up tables so that viewers show source and edit alike."""
    shown = presentation_table(film)
    voi = film.header.get("VOILUTSequence")
    if film.header.get("ModalityLUTSequence"):
        # An SC may hold 8 or 16-bit entries only, and scaling modality values would shift
        # every window; so the whole chain up to polarity becomes one VOI LUT.
        _forget(image, "RescaleSlope", "RescaleIntercept", "RescaleType", *_WINDOW)
        image.VOILUTSequence = [_lut_item(shown.before_polarity, shown.first)]
    elif voi:
        image.VOILUTSequence = [_wide_lut(item) for item in voi]
    elif shown.window is not None:
        _forget(image, *_WINDOW)
        image.WindowCenter, image.WindowWidth = (f"{value:.10g}" for value in shown.window)


def _forget(image: Dataset, *names: str) -> None:
    for name in names:
        if name in image:
            delattr(image, name)


def _wide_lut(source: Dataset) -> Dataset:
    """Copy a VOI LUT with 16-bit entries, the only wide ones an SC may have (C.11.2.1.1)."""
    entries, first, bits = lut_entries(source)
    return _lut_item(entries / ((1 << bits) - 1), first)


def _lut_item(levels: NDArray[np.float64], first: int) -> Dataset:
    item = Dataset()
    item.add_new(0x00283002, "SS" if first < 0 else "US", [len(levels) % 65536, first, 16])
    item.add_new(0x00283006, "OW", np.rint(levels * 65535.0).astype("<u2").tobytes())
    return item


def _refer(image: Dataset, film: Film, segmentation: Reference | None) -> None:
    source = Reference.to(film.header)
    entries = [(source, words.SOURCE_IMAGE)]
    if segmentation is not None:
        entries.append((segmentation, words.MASK_IMAGE))
    image.SourceImageSequence = []
    for reference, purpose in entries:
        item = instance_item(reference)
        item.PurposeOfReferenceCodeSequence = [code_item(purpose)]
        item.SpatialLocationsPreserved = "YES"
        image.SourceImageSequence.append(item)
    refer(image, [reference for reference, _ in entries])
