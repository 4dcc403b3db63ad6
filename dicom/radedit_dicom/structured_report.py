"""What every report on an edit is made of: a Comprehensive 3D SR, TID 1500 (PS3.16)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from highdicom.sr import (
    AlgorithmIdentification,
    Comprehensive3DSR,
    LanguageOfContentItemAndDescendants,
    Measurement,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    PlanarROIMeasurementsAndQualitativeEvaluations,
    QualitativeEvaluation,
    RelationshipTypeValues,
    SourceImageForMeasurementGroup,
    TextContentItem,
    TrackingIdentifier,
)
from highdicom.sr.coding import CodedConcept
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from radedit_dicom import vocabulary as words
from radedit_dicom.marks import anonymous
from radedit_dicom.provenance import Provenance, edit_uid

Group = MeasurementsAndQualitativeEvaluations | PlanarROIMeasurementsAndQualitativeEvaluations


@dataclass(frozen=True, eq=False)
class Told:
    """What is told about an edit.

    Attributes
    ----------
    measurements : numbers, with their names and units
    evaluations : coded answers
    texts : names and texts; an empty text is left out
    """

    measurements: Sequence[Measurement] = ()
    evaluations: Sequence[QualitativeEvaluation] = ()
    texts: Iterable[tuple[Code, str]] = ()


def report_on(
    evidence: Sequence[Dataset],
    observer: ObservationContext,
    groups: Sequence[Group],
    instance: tuple[str, str, int],
) -> Comprehensive3DSR:
    """Build a report in English, complete and not verified.

    Parameters
    ----------
    evidence : sequence of pydicom.Dataset
        The objects that the groups are about.
    observer : highdicom.sr.ObservationContext
        Who or what observed.
    groups : sequence of measurement groups
    instance : (str, str, int)
        UIDs of the object and of its series, and the series' number.

    Returns
    -------
    highdicom.sr.Comprehensive3DSR
        Not yet marked as an edit's (`marks.mark`).
    """
    sop_instance_uid, series_instance_uid, number = instance
    return Comprehensive3DSR(
        evidence=[anonymous(item) for item in evidence],
        content=MeasurementReport(
            observation_context=observer,
            procedure_reported=words.PROCEDURE,
            imaging_measurements=list(groups),
            title=words.REPORT_TITLE,
            language_of_content_item_and_descendants=LanguageOfContentItemAndDescendants(
                CodedConcept("en", "RFC5646", "English")
            ),
        )[0],
        series_instance_uid=series_instance_uid,
        series_number=number,
        sop_instance_uid=sop_instance_uid,
        instance_number=1,
        manufacturer=words.MANUFACTURER,
        is_complete=True,
        is_final=True,
        is_verified=False,
    )


def edit_group(provenance: Provenance, images: Sequence[Dataset], told: Told) -> Group:
    """Tell of an edit as a whole.

    Parameters
    ----------
    provenance : Provenance
        Of the edit; the group's tracking UID follows from it, the same in every report on it.
    images : sequence of pydicom.Dataset
        The edited image and the film it was made of.
    told : Told

    Returns
    -------
    highdicom.sr.MeasurementsAndQualitativeEvaluations
    """
    group = MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(
            uid=edit_uid(provenance, "tracking-edit"), identifier="edit"
        ),
        finding_type=words.EDITED_REGION,
        algorithm_id=AlgorithmIdentification(
            name=words.MODEL_NAME, version=provenance.tool_version[:64] or "unknown"
        ),
        source_images=[
            SourceImageForMeasurementGroup(str(item.SOPClassUID), str(item.SOPInstanceUID))
            for item in images
        ],
        measurements=list(told.measurements),
        qualitative_evaluations=list(told.evaluations),
    )
    for name, text in told.texts:
        if text:
            group[0].ContentSequence.append(
                TextContentItem(
                    name=name, value=text, relationship_type=RelationshipTypeValues.CONTAINS
                )
            )
    return group
