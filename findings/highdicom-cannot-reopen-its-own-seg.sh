#!/usr/bin/env bash
# highdicom 0.28.2: a SEG over a radiograph with Pixel Measures that hold a pixel spacing and no slice thickness
# (a projection has none) is constructed, valid, saved, and cannot be opened by highdicom.seg.segread:
# AttributeError, "Sequence does not have the required attributes for a Pixel Measures Sequence".
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install -q --disable-pip-version-check highdicom==0.28.2 pydicom==3.0.2 numpy==2.4.6
cd "$work"
"$work/env/bin/python" -W ignore - <<'PY'
import highdicom
import numpy as np
from highdicom.seg import SegmentAlgorithmTypeValues, Segmentation, SegmentationTypeValues, SegmentDescription, segread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sr.codedict import codes
from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian, generate_uid

film = Dataset()
film.file_meta = FileMetaDataset()
film.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
film.SOPClassUID, film.SOPInstanceUID = ComputedRadiographyImageStorage, generate_uid()
film.StudyInstanceUID, film.SeriesInstanceUID = generate_uid(), generate_uid()
film.PatientID = film.PatientName = film.PatientSex = film.PatientBirthDate = film.StudyDate = ""
film.StudyTime = film.AccessionNumber = film.StudyID = film.ReferringPhysicianName = ""
film.Rows, film.Columns, film.Modality = 64, 64, "CR"
mask = np.zeros((1, 64, 64), bool)
mask[0, 10:20, 10:20] = True
described = SegmentDescription(
    1, "lung", codes.SCT.AnatomicalStructure, codes.SCT.Lung, SegmentAlgorithmTypeValues.MANUAL
)

def reopened(measures):
    seg = Segmentation(
        [film], mask, SegmentationTypeValues.BINARY, [described], highdicom.UID(), 1, highdicom.UID(), 1,
        "maker", "model", "1", "1", pixel_measures=measures,
    )
    seg.save_as("seg.dcm")
    try:
        segread("seg.dcm")
    except AttributeError as error:
        return str(error)
    return "opened"

seen = {
    "no pixel measures": reopened(None),
    "spacing and thickness": reopened(highdicom.PixelMeasuresSequence([0.2, 0.2], slice_thickness=1.0)),
    "spacing alone": reopened(highdicom.PixelMeasuresSequence([0.2, 0.2], slice_thickness=None)),
}
print(seen)
assert seen["no pixel measures"] == seen["spacing and thickness"] == "opened"
assert "required attributes for a Pixel Measures Sequence" in seen["spacing alone"]
PY
