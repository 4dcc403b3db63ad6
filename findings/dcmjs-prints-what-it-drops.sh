#!/usr/bin/env bash
# dcmjs 0.52.2: a file read and written as it is keeps its private block. Taken through naturalizeDataset and
# denaturalizeDataset, the usual way to change one, it comes out without the block, and the block's values stand on
# the console, so a server's log keeps them. Nothing raises. SyntheticData (0008,001C) stays.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install -q --disable-pip-version-check pydicom==3.0.2
cd "$work"
npm install --silent --no-audit --no-fund dcmjs@0.52.2
"$work/env/bin/python" - <<'PY'
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

ds = Dataset()
ds.file_meta = FileMetaDataset()
ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
ds.SOPClassUID, ds.SOPInstanceUID = SecondaryCaptureImageStorage, generate_uid()
ds.add_new(0x0008001C, "CS", "YES")
ds.PatientName = "Doe^Jane"
ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.PhotometricInterpretation = 8, 8, 1, "MONOCHROME2"
ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
ds.PixelData = bytes(128)
ds.private_block(0x0009, "EXAMPLE", create=True).add_new(1, "LO", "said by Jane Doe")
ds.save_as("film.dcm", enforce_file_format=True)
PY
cat > through.cjs <<'JS'
const fs = require("fs");
const { DicomMessage, DicomMetaDictionary } = require("dcmjs").data;
const file = DicomMessage.readFile(new Uint8Array(fs.readFileSync("film.dcm")).buffer);
fs.writeFileSync("as-it-is.dcm", Buffer.from(file.write()));
file.dict = DicomMetaDictionary.denaturalizeDataset(DicomMetaDictionary.naturalizeDataset(file.dict));
fs.writeFileSync("naturalised.dcm", Buffer.from(file.write()));
JS
node through.cjs > console.txt 2>&1
"$work/env/bin/python" - <<'PY'
import pydicom

console = open("console.txt").read()
print("console:", console.strip().splitlines())
assert "said by Jane Doe" in console
kept = {}
for name in ("as-it-is", "naturalised"):
    ds = pydicom.dcmread(f"{name}.dcm")
    kept[name] = [str(element.tag) for element in ds if element.tag.is_private]
    print(f"{name:12} SyntheticData {ds.SyntheticData}, private elements {kept[name]}")
    assert ds.SyntheticData == "YES" and ds.PatientName == "Doe^Jane"
assert len(kept["as-it-is"]) == 2 and kept["naturalised"] == []
PY
