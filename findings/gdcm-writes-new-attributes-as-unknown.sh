#!/usr/bin/env bash
# GDCM 3.2.6: an object that went over implicit VR once (as every DICOM peer may ask) and is turned back into
# explicit VR has SyntheticData (0008,001C), "YES", as UN: the attribute is newer than GDCM's dictionary, and
# private elements are UN as well. A search of the raw bytes, or a reader without the attribute in its own dictionary,
# finds four bytes and no YES. pydicom 3.0.2 knows the tag and reads the UN element as CS.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install -q --disable-pip-version-check python-gdcm==3.2.6 pydicom==3.0.2 numpy==2.4.6
cd "$work"
"$work/env/bin/python" -W ignore - <<'PY'
import gdcm
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

ds = Dataset()
ds.file_meta = FileMetaDataset()
ds.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()
ds.add_new(0x0008001C, "CS", "YES")
ds.ConversionType = "WSD"
ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.PhotometricInterpretation = 8, 8, 1, "MONOCHROME2"
ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
ds.PixelData = bytes(128)
ds.save_as("implicit.dcm", enforce_file_format=True)
reader = gdcm.ImageReader()
reader.SetFileName("implicit.dcm")
assert reader.Read()
change = gdcm.ImageChangeTransferSyntax()
change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.ExplicitVRLittleEndian))
change.SetInput(reader.GetImage())
assert change.Change()
writer = gdcm.ImageWriter()
writer.SetFileName("explicit.dcm")
writer.SetFile(reader.GetFile())
writer.SetImage(change.GetOutput())
assert writer.Write()
back = pydicom.dcmread("explicit.dcm")
raw = open("explicit.dcm", "rb").read()
at = raw.index(b"\x08\x00\x1c\x00")
print("transfer syntax", back.file_meta.TransferSyntaxUID.name, "VR in the file", raw[at + 4 : at + 6].decode())
print("pydicom reads", back["SyntheticData"].VR, back.SyntheticData)
assert back.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
assert raw[at + 4 : at + 6] == b"UN" and (back["SyntheticData"].VR, back.SyntheticData) == ("CS", "YES")
PY
