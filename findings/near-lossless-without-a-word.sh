#!/usr/bin/env bash
# pydicom 3.0.2: Dataset.compress(JPEGLSNearLossless, jls_error=5) changes the pixels by up to 5 and
# writes neither Lossy Image Compression (0028,2110) nor its ratio or method; PS3.3 C.7.6.1.1.5 asks for "01".
# The SOP Instance UID does change. Whoever looks for lossy films by the header takes it for an original.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install -q --disable-pip-version-check pydicom==3.0.2 pyjpegls==1.5.1 numpy==2.4.6
cd "$work"
"$work/env/bin/python" -W ignore - <<'PY'
import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    ComputedRadiographyImageStorage, ExplicitVRLittleEndian, JPEGLSNearLossless, generate_uid,
)

ds = Dataset()
ds.file_meta = FileMetaDataset()
ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
ds.SOPClassUID = ComputedRadiographyImageStorage
ds.SOPInstanceUID = before = generate_uid()
ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.PhotometricInterpretation = 64, 64, 1, "MONOCHROME2"
ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 15, 14, 0
film = np.random.default_rng(0).integers(0, 2**15, (64, 64)).astype("<u2")
ds.PixelData = film.tobytes()
ds.compress(JPEGLSNearLossless, jls_error=5)
largest = int(np.abs(ds.pixel_array.astype(int) - film).max())
print("largest change of a 15 bit film:", largest, "of a jls_error of 5")
lossy = [k for k in ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod") if k in ds]
print("attributes that say so:", lossy, "another UID:", ds.SOPInstanceUID != before)
assert 0 < largest <= 5 and lossy == [] and ds.SOPInstanceUID != before
PY
