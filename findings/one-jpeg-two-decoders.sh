#!/usr/bin/env bash
# One baseline JPEG film, two decoders that pydicom 3.0.2 takes: pillow 13.0.0 and pylibjpeg-libjpeg 2.5.0 give
# 3 % of the pixels a value that differs by 1. pixel_array says nothing of which it took: with both installed it
# is pylibjpeg, without it pillow. A digest of the pixels, or "bit-identical", holds for one environment only.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install -q --disable-pip-version-check pydicom==3.0.2 pillow==13.0.0 numpy==2.4.6
cd "$work"
cat > film.py <<'PY'
import io
import sys
import numpy as np
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels import get_decoder
from pydicom.uid import ComputedRadiographyImageStorage, JPEGBaseline8Bit, generate_uid

y, x = np.mgrid[:512, :512]
noise = np.random.default_rng(0).normal(0, 8, (512, 512))
film = np.clip(128 + 60 * np.sin(x / 37) + 50 * np.cos(y / 23) + noise, 0, 255).astype(np.uint8)
jpeg = io.BytesIO()
Image.fromarray(film).save(jpeg, "JPEG", quality=90)
ds = Dataset()
ds.file_meta = FileMetaDataset()
ds.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
ds.SOPClassUID, ds.SOPInstanceUID = ComputedRadiographyImageStorage, generate_uid()
ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.PhotometricInterpretation = 512, 512, 1, "MONOCHROME2"
ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8, 8, 7, 0
ds.PixelData = encapsulate([jpeg.getvalue()])
ds["PixelData"].VR = "OB"
np.save(sys.argv[1], ds.pixel_array)
print("decoders here:", get_decoder(JPEGBaseline8Bit).available_plugins)
PY
"$work/env/bin/python" -W ignore film.py before.npy
"$work/env/bin/pip" install -q --disable-pip-version-check pylibjpeg==2.1.0 pylibjpeg-libjpeg==2.5.0
"$work/env/bin/python" -W ignore film.py after.npy
"$work/env/bin/python" - <<'PY'
import numpy as np

before, after = (np.load(f"{name}.npy").astype(int) for name in ("before", "after"))
share, largest = float(np.mean(before != after)), int(np.abs(before - after).max())
print(f"the same film before and after the second decoder came: {share:.2%} of the pixels differ, by {largest} at most")
assert 0.02 < share < 0.05 and largest == 1
PY
