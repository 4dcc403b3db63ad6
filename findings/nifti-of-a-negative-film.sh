#!/usr/bin/env bash
# A MONOCHROME1 film (low is white) becomes a NIfTI by two common tools. dcm2niix 1.0.20260724 writes the stored values as
# of a MONOCHROME2 film, and neither the file nor its JSON says which it was; SimpleITK 2.5.7 turns them over (4095 - x).
# The pixel sizes differ as well: dcm2niix takes Pixel Spacing, SimpleITK Imager Pixel Spacing of a CR. Both exit 0.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install -q --disable-pip-version-check dcm2niix==1.0.20260724 simpleitk==2.5.7 \
    pydicom==3.0.2 numpy==2.4.6
cd "$work"
PATH="$work/env/bin:$PATH" "$work/env/bin/python" -W ignore - <<'PY'
import json
import os
import subprocess
import numpy as np
import SimpleITK
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian, generate_uid

def converted(photometric):
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID, ds.SOPInstanceUID = ComputedRadiographyImageStorage, generate_uid()
    ds.StudyInstanceUID, ds.SeriesInstanceUID = generate_uid(), generate_uid()
    ds.Modality, ds.SeriesNumber, ds.InstanceNumber, ds.SeriesDescription = "CR", 1, 1, "chest"
    ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.PhotometricInterpretation = 32, 48, 1, photometric
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.ImagerPixelSpacing, ds.PixelSpacing, ds.PixelSpacingCalibrationType = [0.2, 0.2], [0.15, 0.15], "GEOMETRY"
    film = np.full((32, 48), 1000, "<u2")
    ds.PixelData = film.tobytes()
    os.mkdir(photometric)
    ds.save_as(f"{photometric}/film.dcm", enforce_file_format=True)
    ran = subprocess.run(["dcm2niix", "-o", ".", "-f", f"niix-{photometric}", photometric], capture_output=True)
    assert ran.returncode == 0
    SimpleITK.WriteImage(SimpleITK.ReadImage(f"{photometric}/film.dcm"), f"itk-{photometric}.nii")
    seen = {}
    for tool in ("niix", "itk"):
        image = SimpleITK.ReadImage(f"{tool}-{photometric}.nii")
        seen[tool] = round(image.GetSpacing()[0], 3), float(SimpleITK.GetArrayViewFromImage(image).mean())
    sidecar = json.load(open(f"niix-{photometric}.json"))
    return seen, sidecar

normal, sidecar_normal = converted("MONOCHROME2")
negative, sidecar_negative = converted("MONOCHROME1")
for name, seen in ("MONOCHROME2", normal), ("MONOCHROME1", negative):
    print(name, "stored 1000 becomes (mm, value): dcm2niix", seen["niix"], "SimpleITK", seen["itk"])
print("the JSON of both:", sorted(sidecar_negative), "equal:", sidecar_normal == sidecar_negative)
assert normal == {"niix": (0.15, 1000), "itk": (0.2, 1000)}
assert negative == {"niix": (0.15, 1000), "itk": (0.2, 3095)}
assert sidecar_normal == sidecar_negative and "MONOCHROME" not in json.dumps(sidecar_negative)
PY
