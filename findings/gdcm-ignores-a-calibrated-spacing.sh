#!/usr/bin/env bash
# SimpleITK 2.5.7 (GDCM inside): of a CR or DX film it reads Imager Pixel Spacing and never Pixel Spacing, also
# where Pixel Spacing is calibrated (Pixel Spacing Calibration Type GEOMETRY), and gives 1 mm where
# only Pixel Spacing is there; of a Secondary Capture it is the other way about. A film and a Secondary
# Capture made from it have other millimetres in ITK, SimpleITK and whatever reads through them.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install -q --disable-pip-version-check simpleitk==2.5.7 pydicom==3.0.2 numpy==2.4.6
cd "$work"
"$work/env/bin/python" -W ignore - <<'PY'
import SimpleITK
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    ComputedRadiographyImageStorage, DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian,
    SecondaryCaptureImageStorage, generate_uid,
)

def spacing(sop_class, **attributes):
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = sop_class
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.PhotometricInterpretation = 8, 8, 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.PixelData = bytes(128)
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    ds.save_as("film.dcm", enforce_file_format=True)
    return SimpleITK.ReadImage("film.dcm").GetSpacing()[0]

both = {"PixelSpacing": [0.15, 0.15], "ImagerPixelSpacing": [0.2, 0.2]}
kinds = {
    "CR": ComputedRadiographyImageStorage,
    "DX": DigitalXRayImageStorageForPresentation,
    "SC": SecondaryCaptureImageStorage,
}
seen = {
    name: (
        spacing(kind, **both, PixelSpacingCalibrationType="GEOMETRY"),
        spacing(kind, PixelSpacing=[0.15, 0.15]),
        spacing(kind, ImagerPixelSpacing=[0.2, 0.2]),
    )
    for name, kind in kinds.items()
}
for name, values in seen.items():
    print(name, "both and calibrated, Pixel Spacing only, Imager Pixel Spacing only:", values)
assert seen == {"CR": (0.2, 1.0, 0.2), "DX": (0.2, 1.0, 0.2), "SC": (0.15, 0.15, 1.0)}
PY
