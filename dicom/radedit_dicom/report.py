"""The edit in words and numbers: a Comprehensive 3D SR, TID 1500 (PS3.16)."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from highdicom.sr import (
    DeviceObserverIdentifyingAttributes,
    Measurement,
    ObservationContext,
    ObserverContext,
    PlanarROIMeasurementsAndQualitativeEvaluations,
    ReferencedSegmentationFrame,
    SourceImageForSegmentation,
    TrackingIdentifier,
)
from pydicom.dataset import Dataset
from pydicom.pixels.utils import pixel_array
from pydicom.sr.codedict import codes

from radedit_dicom import vocabulary as words
from radedit_dicom.film import Film
from radedit_dicom.marks import mark, series_number
from radedit_dicom.provenance import Provenance, as_rows, edit_uid
from radedit_dicom.structured_report import Group, Told, edit_group, report_on
from radedit_dicom.study import StudyContext

Scores = Mapping[str, float | None]


def build_report(
    film: Film,
    image: Dataset,
    segmentation: Dataset,
    scores: Scores,
    provenance: Provenance,
    study: StudyContext,
) -> Dataset:
    """Build the report of an edit.

    Parameters
    ----------
    film : Film
        The source; its spacing, where known, gives areas in square millimetres.
    image, segmentation : pydicom.Dataset
        The edited image and its SEG.
    scores : mapping of str to float or None
        Name to value; None or a value that is not finite is reported as not computed.
    provenance : Provenance
        Listed parameter by parameter, and whole as JSON, so that the edit can be replayed
        after de-identification took the private block.
    study : StudyContext
        That of `image`.

    Returns
    -------
    pydicom.Dataset
        With ``file_meta``; UIDs follow from the edit.
    """
    groups = [
        edit_group(provenance, (image, film.header), _told(scores, provenance)),
        *_mask_groups(film, image, segmentation, provenance),
    ]
    uids = edit_uid(provenance, "sr"), edit_uid(provenance, "sr-series")
    report = report_on(
        (image, segmentation, film.header),
        _observer(provenance),
        groups,
        (*uids, series_number(provenance, 2)),
    )
    mark(report, provenance, study, "report")
    return report


def _observer(provenance: Provenance) -> ObservationContext:
    return ObservationContext(
        observer_device_context=ObserverContext(
            observer_type=codes.DCM.Device,
            observer_identifying_attributes=DeviceObserverIdentifyingAttributes(
                uid=edit_uid(provenance, "device"),
                name=words.MODEL_NAME,
                manufacturer_name=words.MANUFACTURER,
                model_name=words.MODEL_NAME,
                serial_number=words.SERIAL_NUMBER,
            ),
        )
    )


def _told(scores: Scores, provenance: Provenance) -> Told:
    computed = {name: value for name, value in scores.items() if _is_number(value)}
    texts = [(words.PARAMETER, f"{name}: {value}") for name, value in as_rows(provenance)]
    texts += [(words.SCORE_MISSING, name) for name in scores if name not in computed]
    texts += [(words.PROVENANCE_JSON, provenance.to_json())]
    measurements = [
        Measurement(name=words.score_code(name), value=float(value or 0), unit=words.NO_UNITS)
        for name, value in computed.items()
    ]
    return Told(measurements, texts=texts)


def _mask_groups(
    film: Film, image: Dataset, segmentation: Dataset, provenance: Provenance
) -> list[Group]:
    counts = np.asarray(pixel_array(segmentation)).reshape((-1, *film.shape)).sum(axis=(1, 2))
    source = SourceImageForSegmentation(str(image.SOPClassUID), str(image.SOPInstanceUID))
    groups: list[Group] = []
    for item, count in zip(segmentation.SegmentSequence, counts, strict=True):
        number = int(item.SegmentNumber)
        areas = [Measurement(name=words.AREA, value=int(count), unit=words.PIXELS)]
        if film.spacing_mm is not None:
            square_mm = float(count) * film.spacing_mm[0] * film.spacing_mm[1]
            areas.append(Measurement(name=words.AREA, value=square_mm, unit=words.SQUARE_MM))
        referenced = ReferencedSegmentationFrame(
            sop_class_uid=str(segmentation.SOPClassUID),
            sop_instance_uid=str(segmentation.SOPInstanceUID),
            frame_number=number,
            segment_number=number,
            source_image=source,
        )
        # PS3.3 Table 10-3: the frame number shall not stand beside the segment number.
        del referenced[0].ReferencedSOPSequence[0].ReferencedFrameNumber
        groups.append(
            PlanarROIMeasurementsAndQualitativeEvaluations(
                tracking_identifier=TrackingIdentifier(
                    uid=edit_uid(provenance, f"tracking-{number}"), identifier=f"mask {number}"
                ),
                referenced_segment=referenced,
                finding_type=item.SegmentedPropertyTypeCodeSequence[0],
                measurements=areas,
            )
        )
    return groups


def _is_number(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
