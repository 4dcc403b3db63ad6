#!/usr/bin/env bash
# pydicom 3.0.2: a bit-packed SEG of three frames of 7 x 11 pixels is read whole by pixel_array, but
# pixel_array(..., index=1) and iter_pixels raise ValueError, "cannot reshape array of size 75 into shape (7,11)":
# where the pixels of a frame are no multiple of 8 a frame starts and ends within a byte. Frames 0 and 2 come out right.
# A program that takes masks frame by frame works for every test film of 512 x 512.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install -q --disable-pip-version-check pydicom==3.0.2 numpy==2.4.6
cd "$work"
"$work/env/bin/python" -W ignore - <<'PY'
import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels import iter_pixels, pack_bits, pixel_array
from pydicom.uid import ExplicitVRLittleEndian, SegmentationStorage, generate_uid

def frames_read(rows, columns):
    masks = np.random.default_rng(0).integers(0, 2, (3, rows, columns), np.uint8)
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID, ds.SOPInstanceUID = SegmentationStorage, generate_uid()
    ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.PhotometricInterpretation = rows, columns, 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation, ds.NumberOfFrames = 1, 1, 0, 0, 3
    ds.PixelData = pack_bits(masks)
    ds.save_as("seg.dcm", enforce_file_format=True)
    attempts = {"whole": lambda: pixel_array("seg.dcm"), "each in turn": lambda: list(iter_pixels("seg.dcm"))}
    for i in range(3):
        attempts[f"frame {i}"] = lambda i=i: pixel_array("seg.dcm", index=i)
    seen = {}
    for (name, read), drawn in zip(attempts.items(), (masks, masks, *masks)):
        try:
            seen[name] = "right" if np.array_equal(read(), drawn) else "wrong"
        except ValueError as error:
            seen[name] = str(error)
    return seen

even, odd = frames_read(8, 12), frames_read(7, 11)
print("8 x 12:", even)
print("7 x 11:", odd)
assert set(even.values()) == {"right"}
assert odd["whole"] == odd["frame 0"] == odd["frame 2"] == "right"
assert "cannot reshape array of size 75" in odd["frame 1"] and odd["frame 1"] == odd["each in turn"]
PY
