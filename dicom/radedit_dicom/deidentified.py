"""A film without its identity, to be shown to another program: pixels and how to read them.

Built from an allow-list, not by removing what is known to identify: what nobody thought of
stays behind.
"""

from __future__ import annotations

from typing import Final

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from radedit_dicom.errors import UnsupportedImageError
from radedit_dicom.examination import frontal_view
from radedit_dicom.film import Film

#: What says which way the film lies, how large its pixels are and how it is displayed.
_COPIED: Final = (
    "SOPClassUID",
    "Modality",
    "PatientOrientation",
    "PhotometricInterpretation",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PixelSpacing",
    "ImagerPixelSpacing",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "PixelIntensityRelationship",
    "PixelIntensityRelationshipSign",
    "RescaleSlope",
    "RescaleIntercept",
    "RescaleType",
    "WindowCenter",
    "WindowWidth",
    "VOILUTFunction",
    "PresentationLUTShape",
    "BurnedInAnnotation",
    "LossyImageCompression",
)
_CODES: Final = ("CodeValue", "CodingSchemeDesignator", "CodeMeaning")
_LUT: Final = ("LUTDescriptor", "LUTData", "ModalityLUTType")
#: Sequences, and what is copied of their items: their explanations are free text.
_SEQUENCES: Final = {
    "ViewCodeSequence": _CODES,
    "AnatomicRegionSequence": _CODES,
    "ModalityLUTSequence": _LUT,
    "VOILUTSequence": _LUT,
}
_EMPTY: Final = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
    "Manufacturer",
    "SeriesNumber",
    "InstanceNumber",
)


def deidentified(film: Film) -> Dataset:
    """Copy a film's pixels and presentation under new UIDs, and nothing else of it.

    Returns
    -------
    pydicom.Dataset
        With ``file_meta``, Explicit VR Little Endian, uncompressed; the stored values are the
        film's.

    Raises
    ------
    UnsupportedImageError
        The film says that text is burned into its pixels: that may be the patient's name.
    """
    header = film.header
    if str(header.get("BurnedInAnnotation") or "NO") != "NO":
        raise UnsupportedImageError(
            "The film says that text is burned into its pixels (BurnedInAnnotation), which may "
            "name the patient, so it is not sent to another server; use a task of this one."
        )
    copied = Dataset()
    copied.file_meta = FileMetaDataset()
    copied.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    for name in _COPIED:
        if name in header:
            copied[name] = header[name]
    for name, parts in _SEQUENCES.items():
        items = [_part(item, parts) for item in header.get(name) or []]
        if items:
            setattr(copied, name, items)
    # As another server knows them, in whatever words this film said so.
    copied.BodyPartExamined, copied.ViewPosition = "CHEST", frontal_view(header)
    copied.SamplesPerPixel = 1
    for name in _EMPTY:
        setattr(copied, name, None)
    for name in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        setattr(copied, name, generate_uid())
    copied.PatientIdentityRemoved = "YES"
    copied.DeidentificationMethod = "Pixels and their presentation only, new UIDs"
    kind = ("i" if film.signed else "u") + str(int(header.BitsAllocated) // 8)
    data = film.stored.astype(f"<{kind}").tobytes()
    copied.PixelData = data + b"\0" * (len(data) % 2)
    copied["PixelData"].VR = "OB" if int(header.BitsAllocated) == 8 else "OW"
    return copied


def _part(item: Dataset, names: tuple[str, ...]) -> Dataset:
    part = Dataset()
    for name in names:
        if name in item:
            part[name] = item[name]
    return part
