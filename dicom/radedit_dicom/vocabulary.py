"""The words of the package: codes, terms and marks, as data.

Everything another module writes into or looks for in a DICOM object is named here once.
Standard codes come from DICOM PS3.16; what no standard scheme can say has a code in the
private scheme ``99RADEDIT``, which every object that uses it declares in
CodingSchemeIdentificationSequence (PS3.3 C.12.1.1.7).
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydicom.sr.coding import Code
from pydicom.uid import (
    UID,
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    SecondaryCaptureImageStorage,
)

if TYPE_CHECKING:
    from highdicom.coding_schemes import CodingSchemeIdentificationItem

MANUFACTURER = "RadEdit for hospitals"
MODEL_NAME = "radedit"
SERIAL_NUMBER = "0"

#: Written where a person reads it. Never the only mark: de-identification removes it.
WARNING = "AI-EDITED (SYNTHETIC) NOT FOR DIAGNOSIS"

PRIVATE_GROUP = 0x0099
PRIVATE_CREATOR = "RADEDIT PROVENANCE 1"

SCHEME = "99RADEDIT"
SCHEME_NAME = "RadEdit for hospitals: edits, masks and scores"

# --- derivation, references, equipment (PS3.16 CID 7203, 7202, 7005) ---

PIXEL_BY_PIXEL_MASK = Code("113047", "DCM", "Pixel by pixel mask")
SOURCE_IMAGE = Code("121322", "DCM", "Source image for image processing operation")
MASK_IMAGE = Code("121321", "DCM", "Mask image for image processing operation")
SYNTHESIZING_EQUIPMENT = Code("109100", "DCM", "Synthesizing Equipment")
GENERATIVE_EDIT = Code("GENEDIT", SCHEME, "Text-guided generative edit")

# --- segments (PS3.16 CID 7150, 7151) ---

CATEGORY_SPATIAL = Code("309825002", "SCT", "Spatial and Relational Concept")
CATEGORY_ANATOMY = Code("123037004", "SCT", "Body structure")
CATEGORY_ABNORMAL = Code("49755003", "SCT", "Morphologically Abnormal Structure")
CATEGORY_OBJECT = Code("260787004", "SCT", "Physical object")

EDIT_MASK = Code("EDITMASK", SCHEME, "Edit mask")
KEEP_MASK = Code("KEEPMASK", SCHEME, "Keep mask")
OTHER_MASK = Code("OTHERMASK", SCHEME, "Other mask")

LUNG = Code("39607008", "SCT", "Lung")
HEART = Code("80891009", "SCT", "Heart")
PNEUMOTHORAX = Code("36118008", "SCT", "Pneumothorax")
PLEURAL_EFFUSION = Code("60046008", "SCT", "Pleural effusion")
PACEMAKER = Code("14106009", "SCT", "Cardiac pacemaker")
PACEMAKER_LEAD = Code("360129009", "SCT", "Cardiac pacemaker lead")
ENDOTRACHEAL_TUBE = Code("26412008", "SCT", "Endotracheal tube")
CHEST_TUBE = Code("112173", "DCM", "Chest tube")
CENTRAL_LINE = Code("52124006", "SCT", "Central venous catheter")
ECG_LEADS = Code("ECGLEADS", SCHEME, "Electrodes and leads of an electrocardiogram")
CONSOLIDATION = Code("95436008", "SCT", "Lung consolidation")
PULMONARY_OEDEMA = Code("19242006", "SCT", "Pulmonary edema")
NODULE = Code("27925004", "SCT", "Nodule")
MASS = Code("4147007", "SCT", "Mass")
ATELECTASIS = Code("46621007", "SCT", "Atelectasis")
CARDIOMEGALY = Code("8186001", "SCT", "Cardiomegaly")

EDIT_LABEL = "edit mask"
KEEP_LABEL = "keep mask"


@dataclass(frozen=True)
class SegmentCodes:
    """What a segment is: its property category and its property type."""

    category: Code
    type: Code


#: Segment label to codes; a label not listed is written as "other mask".
SEGMENTS: dict[str, SegmentCodes] = {
    EDIT_LABEL: SegmentCodes(CATEGORY_SPATIAL, EDIT_MASK),
    KEEP_LABEL: SegmentCodes(CATEGORY_SPATIAL, KEEP_MASK),
    "lung": SegmentCodes(CATEGORY_ANATOMY, LUNG),
    "lungs": SegmentCodes(CATEGORY_ANATOMY, LUNG),
    "left lung": SegmentCodes(CATEGORY_ANATOMY, LUNG),
    "right lung": SegmentCodes(CATEGORY_ANATOMY, LUNG),
    "heart": SegmentCodes(CATEGORY_ANATOMY, HEART),
    "pneumothorax": SegmentCodes(CATEGORY_ABNORMAL, PNEUMOTHORAX),
    "pleural effusion": SegmentCodes(CATEGORY_ABNORMAL, PLEURAL_EFFUSION),
    "pacemaker": SegmentCodes(CATEGORY_OBJECT, PACEMAKER),
    "pacemaker lead": SegmentCodes(CATEGORY_OBJECT, PACEMAKER_LEAD),
    "endotracheal tube": SegmentCodes(CATEGORY_OBJECT, ENDOTRACHEAL_TUBE),
    "chest tube": SegmentCodes(CATEGORY_OBJECT, CHEST_TUBE),
    "chest drain": SegmentCodes(CATEGORY_OBJECT, CHEST_TUBE),
    "central line": SegmentCodes(CATEGORY_OBJECT, CENTRAL_LINE),
    "ecg leads": SegmentCodes(CATEGORY_OBJECT, ECG_LEADS),
    "consolidation": SegmentCodes(CATEGORY_ABNORMAL, CONSOLIDATION),
    "pulmonary oedema": SegmentCodes(CATEGORY_ABNORMAL, PULMONARY_OEDEMA),
    "nodule": SegmentCodes(CATEGORY_ABNORMAL, NODULE),
    "mass": SegmentCodes(CATEGORY_ABNORMAL, MASS),
    "atelectasis": SegmentCodes(CATEGORY_ABNORMAL, ATELECTASIS),
    "cardiomegaly": SegmentCodes(CATEGORY_ABNORMAL, CARDIOMEGALY),
}

#: Colours (red, green, blue) that viewers are asked to show masks in, the same everywhere.
EDIT_COLOUR, KEEP_COLOUR, OTHER_COLOUR = (255, 112, 67), (64, 196, 255), (255, 202, 92)

# --- phantoms ---

#: Written where a person reads it, on what shows no patient at all.
PHANTOM_WARNING = "PHANTOM (SYNTHETIC) NOT FOR DIAGNOSIS"
RAY_SUMS = Code("RAYSUM", SCHEME, "Ray sums through known geometry")

# --- report (PS3.16 TID 1500) ---

REPORT_TITLE = Code("126000", "DCM", "Imaging Measurement Report")
PROCEDURE = Code("EDITQA", SCHEME, "Generative edit of a radiograph for model testing")
EDITED_REGION = Code("EDITED", SCHEME, "Edited radiograph")
PARAMETER = Code("PARAM", SCHEME, "Edit parameter")
PROVENANCE_JSON = Code("PROVJSON", SCHEME, "Edit provenance as JSON")
SCORE_MISSING = Code("NOSCORE", SCHEME, "Score not computed")
READING = Code("READING", SCHEME, "Decision of a reader on an edit")
READING_REASON = Code("READREASON", SCHEME, "Reason of a reader's decision")
READING_BLINDED = Code("READBLIND", SCHEME, "Answer while the edited image was not named")
READING_EVENT = Code("READEVENT", SCHEME, "SHA-256 of the recorded event")
#: What a reader may decide, and the code of it.
DECISIONS: dict[str, Code] = {
    "accept": Code("ACCEPT", SCHEME, "Edit accepted"),
    "reject": Code("REJECT", SCHEME, "Edit rejected"),
    "unsure": Code("UNSURE", SCHEME, "Reader unsure of the edit"),
}
AREA = Code("42798000", "SCT", "Area")
SQUARE_MM = Code("mm2", "UCUM", "Square millimeter")
PIXELS = Code("{pixels}", "UCUM", "pixels")
NO_UNITS = Code("1", "UCUM", "no units")

# --- what is read and edited ---

LABEL_MAP_CLASS = UID("1.2.840.10008.5.1.4.1.1.66.7")  # of segmentations, not in pydicom's list

FILM_CLASSES: frozenset[UID] = frozenset(
    {
        ComputedRadiographyImageStorage,
        DigitalXRayImageStorageForPresentation,
        SecondaryCaptureImageStorage,
    }
)
FILM_MODALITIES = frozenset({"CR", "DX"})
SYNTHETIC_MODALITIES = FILM_MODALITIES | {"OT", "SC"}


def scheme_identification() -> list[CodingSchemeIdentificationItem]:
    """Declare the private scheme, for CodingSchemeIdentificationSequence (0008,0110).

    Returns
    -------
    list of highdicom.sr.CodingSchemeIdentificationItem
        One item. Source: PS3.3 C.12.1.1.7.
    """
    from highdicom.coding_schemes import CodingSchemeIdentificationItem  # who reads needs none

    return [
        CodingSchemeIdentificationItem(
            designator=SCHEME,
            name=SCHEME_NAME,
            version="1",
            responsible_organization=MANUFACTURER,
        )
    ]


def segment_codes(label: str) -> SegmentCodes:
    """Codes for a segment label.

    Parameters
    ----------
    label : str
        As in `SEGMENTS`, case and ``_``/``-`` do not matter.

    Returns
    -------
    SegmentCodes
        Those of `SEGMENTS`; for any other label the private "other mask".
    """
    return segment_of(label) or SegmentCodes(CATEGORY_SPATIAL, OTHER_MASK)


def segment_of(label: str) -> SegmentCodes | None:
    """Codes for a segment label, as `segment_codes`; None for a label without codes of its own."""
    return SEGMENTS.get(plain_label(label))


def plain_label(label: str) -> str:
    """Write a label as in `SEGMENTS`: in lower case, one blank between its words.

    Tasks and people write ``Left_Lung``, ``left-lung``, ``leftLung`` and ``Left lung`` for one.
    """
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", label)
    return " ".join(re.sub(r"[_-]", " ", apart).lower().split())


def segment_colour(label: str) -> tuple[int, int, int]:
    """Colour to show a segment in: red, green, blue, 0 to 255.

    Parameters
    ----------
    label : str
        As in `segment_codes`.
    """
    type_code = segment_codes(label).type
    return {EDIT_MASK: EDIT_COLOUR, KEEP_MASK: KEEP_COLOUR}.get(type_code, OTHER_COLOUR)


def score_code(name: str) -> Code:
    """Private concept for a score.

    Parameters
    ----------
    name : str
        Name of the score; its first 64 characters become the code meaning.

    Returns
    -------
    pydicom.sr.coding.Code
        Value ``S`` and 12 hex digits of the name's SHA-256 (16 characters is the limit of
        VR SH), so that the same score has the same code in every report.
    """
    digest = hashlib.sha256(name.encode("utf-8")).hexdigest()[:12]
    return Code(f"S{digest}", SCHEME, name[:64])
