"""One grammar of UIDs, at every door of the DICOM side."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
from pydicom.dataset import Dataset

from radedit_dicom import web_rows
from radedit_dicom.archive import Instance, Query, checked_uid, instance_of
from radedit_dicom.edits import Ledger
from radedit_dicom.errors import ArchiveError
from radedit_dicom.folder import FolderArchive
from radedit_dicom.locate import split_address
from radedit_dicom.uids import is_uid

GOOD = ("1.2.840.10008.1.2", "1.02.003", "2.25.0", "7", "1" * 64)
BAD = (
    "..",
    ".",
    "",
    "1..2",
    ".1.2",
    "1.2.",
    "1.2/..",
    "1.2.%2e",
    "1.2.3\n",
    " 1.2.3",
    "1.2.\u0663",
    "1.2.x",
    "1" * 65,
)
INSTANCE = Instance("1.2", "1.3", "1.4", "1.5")


@pytest.mark.parametrize("uid", GOOD)
def test_numbers_with_dots_between_are_a_uid_with_leading_zeros_too(uid: str) -> None:
    assert is_uid(uid)
    assert checked_uid(uid) == uid
    assert Query(sop_instance_uid=uid).sop_instance_uid == uid
    assert split_address(f"http://pacs/dicom-web#{uid}")[1] == Query(study_instance_uid=uid)


@pytest.mark.parametrize("uid", BAD)
def test_what_is_no_uid_names_nothing_in_an_archive(uid: str) -> None:
    assert not is_uid(uid)
    for level in (name.name for name in fields(Query) if name.name.endswith("_uid")):
        with pytest.raises(ArchiveError, match="A UID holds other characters"):
            Query(**{level: uid})
        with pytest.raises(ArchiveError, match="A UID holds other characters"):
            replace(INSTANCE, **{level: uid})
    if uid:
        with pytest.raises(ArchiveError, match="A UID holds other characters"):
            replace(INSTANCE, sop_class_uid=uid)
        with pytest.raises(ArchiveError, match="UID"):
            split_address(f"http://pacs/dicom-web#1.2/{uid}/1.3")


@pytest.mark.parametrize("uid", [uid for uid in BAD if uid.strip() == uid])  # others are padded
@pytest.mark.parametrize("tag", ["0020000D", "0020000E", "00080018"])
def test_a_row_of_a_search_with_such_a_uid_is_passed_over(uid: str, tag: str) -> None:
    row = {name: {"vr": "UI", "Value": ["1.2"]} for name in ("0020000D", "0020000E", "00080018")}
    assert web_rows.instance(row) == Instance("1.2", "1.2", "1.2")
    row[tag] = {"vr": "UI", "Value": [uid]}
    assert web_rows.instance(row) is None
    if tag == "0020000D":
        assert web_rows.study(row) is None


def test_a_class_that_is_no_uid_hides_no_object() -> None:
    row = {name: {"vr": "UI", "Value": ["1.2"]} for name in ("0020000D", "0020000E", "00080018")}
    found = web_rows.instance(row | {"00080016": {"vr": "UI", "Value": [".."]}})
    assert found == Instance("1.2", "1.2", "1.2")


@pytest.mark.filterwarnings("ignore")  # pydicom's, of what is malformed
@pytest.mark.parametrize("name", ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"])
def test_a_file_whose_uid_climbs_is_in_no_folder_and_cannot_be_stored(
    tmp_path, make_dataset, name: str
) -> None:
    dataset: Dataset = make_dataset(**{name: ".."})
    dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    dataset.save_as(tmp_path / "climbing.dcm", enforce_file_format=True)
    archive = FolderArchive(tmp_path)
    assert archive.held() == {}
    assert archive.find(Query()) == []
    assert Ledger(archive).edits(Query()) == []
    with pytest.raises(ArchiveError, match="A UID holds other characters"):
        archive.store([dataset])
    with pytest.raises(ArchiveError, match="A UID holds other characters"):
        instance_of(dataset)
