"""A rendered phantom as DICOM objects: the film as its site would send it, and its true masks.

Every object says that it is synthetic (SyntheticData) and of a phantom (QualityControlSubject,
PS3.3 C.7.1.1): the gate lets a phantom be edited, and never takes an edit for one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib.metadata import version
from typing import Any

import numpy as np
from highdicom import ContributingEquipment
from highdicom.seg import SegmentAlgorithmTypeValues
from highdicom.sr.coding import CodedConcept
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sr.coding import Code
from pydicom.uid import (
    PYDICOM_ROOT_UID,
    UID,
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    generate_uid,
)

from radedit.lib.phantom.world import Patient, Rendering, view_of
from radedit_dicom import vocabulary as words
from radedit_dicom.marks import Reference, code_item, refer
from radedit_dicom.segmentation import Maker, assemble
from radedit_dicom.study import StudyContext

MOBILE_SITES = ("ward",)  # read out from storage plates; the others have flat detectors
LABELS: Mapping[str, str] = {
    "lung_left": "left lung",
    "lung_right": "right lung",
    "effusion": "pleural effusion",
    "oedema": "pulmonary oedema",
}
"""Segment label of each mask whose own name is another one."""
_CHEST = Code("51185008", "SCT", "Thoracic structure")
_VIEWS = {
    "AP": Code("399348003", "SCT", "antero-posterior"),
    "PA": Code("272479007", "SCT", "postero-anterior"),
}
_FIRST_DAY = datetime(2024, 1, 1, 7, 0)
_DAYS, _SECONDS_A_DAY = 366, 12 * 3600


def tool_version() -> str:
    """Give the version of the program."""
    return version("radedit-monailabel")


@dataclass(frozen=True)
class Identity:
    """Who a phantom is to an archive; a pure function of its key.

    Attributes
    ----------
    patient : Patient
        Whose films these are, with its findings.
    key : str
        Hex digest of all that the study's content follows from.
    """

    patient: Patient
    key: str

    def uid(self, role: str) -> UID:
        """UID of the study, or of one series or instance of it."""
        return generate_uid(PYDICOM_ROOT_UID, ["\x00".join(("phantom", self.key, role))])

    @property
    def taken(self) -> datetime:
        """When the film is said to have been taken."""
        number = int(self.key[:12], 16)
        return _FIRST_DAY + timedelta(days=number % _DAYS, seconds=number // _DAYS % _SECONDS_A_DAY)

    def study(self) -> StudyContext:
        """Patient and study attributes of every object."""
        who = hashlib.sha256(repr(self.patient).encode()).hexdigest()[:12].upper()
        return StudyContext(
            {
                "PatientName": f"PHANTOM^{self.patient.seed}",
                "PatientID": f"PHANTOM-{who}",
                "PatientSex": {"female": "F", "male": "M"}[self.patient.body.sex],
                "PatientAge": f"{int(self.patient.body.age):03d}Y",
                "StudyInstanceUID": str(self.uid("study")),
                "StudyDate": self.taken.strftime("%Y%m%d"),
                "StudyTime": self.taken.strftime("%H%M%S"),
                "StudyID": "PHANTOM",
                "StudyDescription": "Simulated chest radiograph",
            },
            is_source_study=True,
        )


@dataclass(frozen=True)
class Role:
    """Which film of a study: its name in UIDs, series number, description, and image type."""

    name: str
    number: int
    description: str
    image_type: tuple[str, ...]


FILM = Role("film", 1, "film", ("ORIGINAL", "PRIMARY", ""))
COUNTERFACTUAL = Role(
    "counterfactual",
    3,
    "true counterfactual: findings gone, devices stay",
    ("DERIVED", "PRIMARY", ""),
)
"""Called derived, so that who asks for a study's films to edit gets the film itself."""


def film_object(film: Rendering, identity: Identity, role: Role) -> Dataset:
    """Make the film: DX for presentation of a wall stand, CR of a mobile unit.

    Parameters
    ----------
    film : Rendering
    identity : Identity
    role : FILM or COUNTERFACTUAL

    Returns
    -------
    pydicom.Dataset
        With ``file_meta``, explicit VR little endian.
    """
    mobile = identity.patient.exposure.site in MOBILE_SITES
    image = Dataset()
    image.SOPClassUID = (
        ComputedRadiographyImageStorage if mobile else DigitalXRayImageStorageForPresentation
    )
    image.SOPInstanceUID = identity.uid(role.name)
    image.file_meta = FileMetaDataset()
    image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.SeriesInstanceUID = identity.uid(f"{role.name}-series")
    image.SeriesNumber, image.InstanceNumber = role.number, 1
    image.ImageType = list(role.image_type)
    _mark(image, identity, role.description)
    _exposed(image, identity.patient, film)
    _pixels(image, film, identity.patient)
    if not mobile:
        _digital(image, identity.patient)
    return image


def truth_object(
    image: Dataset, masks: Mapping[str, NDArray[np.bool_]], identity: Identity, role: Role
) -> Dataset:
    """Make the SEG with the true mask of every structure on a film.

    Parameters
    ----------
    image : pydicom.Dataset
        What `film_object` gave.
    masks : mapping of str to bool [rows, columns]
        As in `Rendering`; empty ones are kept, so that a label is there in every study.
    identity, role
        Those of the film.
    """
    name = f"{role.name}-masks"
    segmentation = assemble(
        image,
        {LABELS.get(kind, kind): mask for kind, mask in masks.items()},
        Maker(
            series_instance_uid=identity.uid(f"{name}-series"),
            sop_instance_uid=identity.uid(name),
            dimensions_uid=identity.uid(f"{name}-dimensions"),
            series_number=role.number + 1,
            version=tool_version(),
            family=CodedConcept.from_code(words.RAY_SUMS),
            how=SegmentAlgorithmTypeValues.AUTOMATIC,
            content=("PHANTOM_TRUTH", "True masks of a simulated film"),
        ),
    )
    _mark(segmentation, identity, f"masks of the {role.name}")
    segmentation.CodingSchemeIdentificationSequence = words.scheme_identification()
    segmentation.ContentDate = identity.taken.strftime("%Y%m%d")
    segmentation.ContentTime = identity.taken.strftime("%H%M%S")
    refer(segmentation, [Reference.to(image)])
    return segmentation


def _mark(dataset: Dataset, identity: Identity, description: str) -> None:
    """Write patient, study, equipment, and that all of it is synthetic."""
    identity.study().apply(dataset)
    dataset.QualityControlSubject = "YES"
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SyntheticData = "YES"
    dataset.ContentQualification = "RESEARCH"
    dataset.SeriesDescription = f"PHANTOM {description}"[:64]
    dataset.Manufacturer = words.MANUFACTURER
    dataset.ManufacturerModelName = f"{words.MODEL_NAME} phantom"
    dataset.DeviceSerialNumber = words.SERIAL_NUMBER
    dataset.SoftwareVersions = tool_version()
    dataset.InstitutionName = f"Phantom site {identity.patient.exposure.site}"
    dataset.ContributingEquipmentSequence = [
        ContributingEquipment(
            manufacturer=words.MANUFACTURER,
            purpose_of_reference=words.SYNTHESIZING_EQUIPMENT,
            manufacturer_model_name=f"{words.MODEL_NAME} phantom",
            software_versions=tool_version(),
            contribution_datetime=identity.taken,
            contribution_description=words.RAY_SUMS.meaning,
        )
    ]
    day, time = identity.taken.strftime("%Y%m%d"), identity.taken.strftime("%H%M%S")
    for name in ("InstanceCreation", "Series"):
        setattr(dataset, f"{name}Date", day)
        setattr(dataset, f"{name}Time", time)


def _exposed(image: Dataset, patient: Patient, film: Rendering) -> None:
    """Say how the film was taken (PS3.3 C.8.1.1, C.8.7.2)."""
    taken = patient.exposure
    image.Modality = "CR" if taken.site in MOBILE_SITES else "DX"
    image.BodyPartExamined = "CHEST"
    image.ViewPosition = taken.projection
    image.PatientOrientation = ["L", "F"]
    image.KVP = f"{taken.beam.kvp:.1f}"
    image.DistanceSourceToDetector = f"{taken.distance:.1f}"
    image.PixelSpacing = image.ImagerPixelSpacing = [f"{film.spacing:.8f}"] * 2
    image.AcquisitionDate = image.ContentDate = image.StudyDate
    image.AcquisitionTime = image.ContentTime = image.StudyTime
    image.ImageComments = words.PHANTOM_WARNING
    if "DERIVED" in image.ImageType:
        image.DerivationDescription = (
            "The same simulated patient, exposure and noise without findings; devices stay"
        )


def stored_values(film: Rendering, patient: Patient) -> NDArray[np.uint16]:
    """Give the stored values, uint16 [R, C]: the display's grey at the site's depth and polarity.

    A full-range window therefore shows the film as it was rendered.
    """
    top = (1 << patient.exposure.bits_stored) - 1
    grey = np.rint(np.clip(film.image.astype(np.float64), 0, 1) * top).astype(np.uint16)
    return (top - grey).astype(np.uint16) if _is_inverse(patient) else grey


def _is_inverse(patient: Patient) -> bool:
    return patient.exposure.photometric == "MONOCHROME1"


def _pixels(image: Dataset, film: Rendering, patient: Patient) -> None:
    bits = patient.exposure.bits_stored
    image.SamplesPerPixel = 1
    image.PhotometricInterpretation = patient.exposure.photometric
    image.Rows, image.Columns = film.image.shape
    image.BitsAllocated, image.BitsStored, image.HighBit = 16, bits, bits - 1
    image.PixelRepresentation = 0
    image.WindowCenter, image.WindowWidth = str(1 << (bits - 1)), str(1 << bits)
    image.RescaleIntercept, image.RescaleSlope, image.RescaleType = "0", "1", "US"
    image.BurnedInAnnotation = "NO"
    image.LossyImageCompression = "00"
    values: NDArray[Any] = stored_values(film, patient).astype("<u2")
    image.add_new("PixelData", "OW", values.tobytes())


def _digital(image: Dataset, patient: Patient) -> None:
    """Add what a DX image needs beside (PS3.3 A.26)."""
    image.PresentationIntentType = "FOR PRESENTATION"
    image.PixelIntensityRelationship = "LOG"
    image.PixelIntensityRelationshipSign = 1 if _is_inverse(patient) else -1
    image.PresentationLUTShape = "INVERSE" if _is_inverse(patient) else "IDENTITY"
    image.ImageLaterality = "U"
    image.AnatomicRegionSequence = [code_item(_CHEST)]
    image.ViewCodeSequence = [code_item(_VIEWS[patient.exposure.projection])]
    thickness = f"{patient.exposure.beam.filtration_mm:.2f}"
    image.FilterMaterial = "ALUMINUM"
    image.FilterThicknessMinimum = image.FilterThicknessMaximum = thickness
    magnification = view_of(patient, max(image.Rows, image.Columns)).magnification
    image.EstimatedRadiographicMagnificationFactor = f"{magnification:.5f}"
    image.DetectorType = "SCINTILLATOR"
    image.PositionerType = "COLUMN"
    image.AcquisitionContextSequence = []
