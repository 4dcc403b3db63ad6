#!/usr/bin/env bash
# monai 1.6.1: LoadImage() without a reader takes what is installed. With pydicom alone a MONOCHROME1 film comes as
# stored, [x, y], of 1 mm; once itk 5.4.7 is there the same line gives 4095 - x, [x, y, 1], and Imager Pixel Spacing. Of
# a CR with Pixel Spacing alone both say 1 mm. A network sees dark bones on one server and white ones on another.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install -q --disable-pip-version-check monai==1.6.1 torch==2.13.0 pydicom==3.0.2 numpy==2.4.6
cd "$work"
cat > film.py <<'PY'
import json
import sys
import numpy as np
from monai.transforms import LoadImage
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian, generate_uid

def loaded(photometric, **attributes):
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID, ds.SOPInstanceUID = ComputedRadiographyImageStorage, generate_uid()
    ds.SeriesInstanceUID, ds.Modality = generate_uid(), "CR"
    ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.PhotometricInterpretation = 32, 48, 1, photometric
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.PixelData = np.full((32, 48), 1000, "<u2").tobytes()
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    ds.save_as("film.dcm", enforce_file_format=True)
    image = LoadImage()("film.dcm")
    return {"shape": list(image.shape), "value": float(image.mean()), "mm": round(float(image.pixdim[0]), 3)}

seen = {
    "MONOCHROME2": loaded("MONOCHROME2", PixelSpacing=[0.15, 0.15]),
    "MONOCHROME1": loaded("MONOCHROME1", PixelSpacing=[0.15, 0.15]),
    "MONOCHROME1, Imager Pixel Spacing": loaded("MONOCHROME1", ImagerPixelSpacing=[0.2, 0.2]),
}
json.dump(seen, open(sys.argv[1], "w"))
for name, found in seen.items():
    print(f"{sys.argv[1]:20} {name}: {found}")
PY
"$work/env/bin/python" -W ignore film.py with-pydicom.json
"$work/env/bin/pip" install -q --disable-pip-version-check itk-io==5.4.7
"$work/env/bin/python" -W ignore film.py with-itk-too.json
"$work/env/bin/python" - <<'PY'
import json

pydicom, itk = (json.load(open(f"{name}.json")) for name in ("with-pydicom", "with-itk-too"))
assert all(found["shape"] == [48, 32] and found["value"] == 1000 for found in pydicom.values())
assert all(found["shape"] == [48, 32, 1] for found in itk.values())
assert [found["value"] for found in itk.values()] == [1000, 3095, 3095]
assert [found["mm"] for found in pydicom.values()] == [1, 1, 1]
assert [found["mm"] for found in itk.values()] == [1, 1, 0.2]
PY
