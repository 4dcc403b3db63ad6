"""What other tools do to our objects: the rows of docs/interoperability.md that name a test."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from radedit_dicom.archive import Query
from radedit_dicom.conformance import Severity, check_file, passes, run_dciodvfy
from radedit_dicom.edits import Ledger
from radedit_dicom.errors import DicomError, ProvenanceError
from radedit_dicom.locate import open_archive
from radedit_dicom.objects import EditObjects
from radedit_dicom.pixels import read_film
from radedit_dicom.provenance import pixel_sha256, read_private

Tool = Callable[..., subprocess.CompletedProcess[str]]
PAGE = Path(__file__).resolve().parents[2] / "docs" / "interoperability.md"


@pytest.fixture(scope="module")
def written(make_dataset, make_edit, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write an edit's three objects; its film has a window and a size in millimetres."""
    y, x = np.mgrid[:66, :62]
    film = read_film(
        make_dataset(
            (y * 40 + x * 9) % 4096, PixelSpacing=[0.2, 0.2], WindowCenter=2000, WindowWidth=3000
        )
    )
    objects: EditObjects = make_edit(film)[1]
    folder = tmp_path_factory.mktemp("edit")
    for name in ("sc", "seg", "sr"):
        getattr(objects, name).save_as(folder / f"{name}.dcm", enforce_file_format=True)
    return folder


@pytest.fixture
def tool(peer: Callable[[str], str], tmp_path: Path) -> Tool:
    """Run a program of a package that the set-up installs, in an empty folder."""

    def run(name: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        command = [peer(name), *map(str, arguments)]
        return subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
        )

    return run


def assert_whole(path: Path) -> Dataset:
    """Check that marks and record are there, that the check passes and that it is no film."""
    dataset = pydicom.dcmread(path)
    assert dataset.SyntheticData == "YES"
    record = read_private(dataset)
    if dataset.Modality not in ("SEG", "SR"):
        assert pixel_sha256(dataset.pixel_array) == record.result_pixel_sha256
    assert passes(check_file(path))
    with pytest.raises(DicomError):
        read_film(path)
    return dataset


@pytest.mark.parametrize("name", ["sc", "seg", "sr"])
def test_dcmconv_over_implicit_vr_and_back_leaves_marks_as_unknown_and_readable(
    written: Path, tool: Tool, tmp_path: Path, name: str
) -> None:
    implicit, back = tmp_path / "implicit.dcm", tmp_path / "back.dcm"
    assert tool("dcmconv", "+ti", written / f"{name}.dcm", implicit).returncode == 0
    assert_whole(implicit)
    assert tool("dcmconv", "+te", implicit, back).returncode == 0
    raw = back.read_bytes()
    at = raw.index(b"\x08\x00\x1c\x00")
    assert raw[at + 4 : at + 6] == b"UN", "dcmtk has come to know SyntheticData"
    assert_whole(back)


@pytest.mark.parametrize("name", ["sc", "seg", "sr"])
def test_big_endian_keeps_marks_and_record(
    written: Path, tool: Tool, tmp_path: Path, name: str
) -> None:
    assert tool("dcmconv", "+tb", written / f"{name}.dcm", tmp_path / "big.dcm").returncode == 0
    assert_whole(tmp_path / "big.dcm")


@pytest.mark.parametrize(
    ("pack", "unpack"),
    [("dcmcjpls", "dcmdjpls"), ("dcmcrle", "dcmdrle"), ("dcmcjpeg", "dcmdjpeg")],
)
def test_lossless_compression_by_dcmtk_keeps_the_recorded_pixels(
    written: Path, tool: Tool, tmp_path: Path, pack: str, unpack: str
) -> None:
    packed, unpacked = tmp_path / "packed.dcm", tmp_path / "unpacked.dcm"
    assert tool(pack, written / "sc.dcm", packed).returncode == 0
    assert_whole(packed)
    assert tool(unpack, packed, unpacked).returncode == 0
    assert_whole(unpacked)


def test_storescu_sends_a_compressed_edit_only_when_told_to_propose_its_syntax(
    written: Path, tool: Tool, peer: Callable[[str], str], tmp_path: Path, free_port: int
) -> None:
    packed, arrived = tmp_path / "packed.dcm", tmp_path / "arrived"
    arrived.mkdir()
    assert tool("dcmcjpls", written / "sc.dcm", packed).returncode == 0
    receiver = subprocess.Popen([peer("storescp"), "+xa", "-od", arrived, str(free_port)])
    try:
        ready = ("-to", "5", "127.0.0.1", str(free_port))
        until(lambda: tool("echoscu", *ready).returncode == 0)
        assert tool("storescu", *ready, packed).returncode != 0
        assert list(arrived.iterdir()) == []
        assert tool("storescu", "-xt", *ready, packed).returncode == 0
        (came,) = arrived.iterdir()
        assert_whole(came)
    finally:
        receiver.terminate()
        receiver.wait(10)


def until(done: Callable[[], bool], tries: int = 100) -> None:
    for _ in range(tries):
        if done():
            return
        time.sleep(0.1)
    pytest.fail("the receiver did not answer")


def test_dcmodify_of_a_patient_leaves_the_edit_valid(
    written: Path, tool: Tool, tmp_path: Path
) -> None:
    path = tmp_path / "sc.dcm"
    path.write_bytes((written / "sc.dcm").read_bytes())
    assert tool("dcmodify", "-nb", "-m", "PatientName=Other^Name", path).returncode == 0
    assert assert_whole(path).PatientName == "Other^Name"


def test_a_copy_scaled_by_dcmscale_still_says_synthetic_and_fails_the_check_by_its_pixels(
    written: Path, tool: Tool, tmp_path: Path
) -> None:
    path = tmp_path / "scaled.dcm"
    assert tool("dcmscale", "+Sxv", "31", written / "sc.dcm", path).returncode == 0
    dataset = pydicom.dcmread(path)
    assert (dataset.SyntheticData, dataset.Columns) == ("YES", 31)
    assert pixel_sha256(dataset.pixel_array) != read_private(dataset).result_pixel_sha256
    assert not passes(check_file(path))
    with pytest.raises(DicomError, match="synthetic"):
        read_film(path)


def test_dsr2xml_and_xml2dsr_keep_the_report_and_drop_every_mark_outside_of_it(
    written: Path, tool: Tool, tmp_path: Path
) -> None:
    xml, path = tmp_path / "sr.xml", tmp_path / "sr.dcm"
    assert tool("dsr2xml", written / "sr.dcm", xml).returncode == 0
    assert tool("xml2dsr", xml, path).returncode == 0
    before, after = pydicom.dcmread(written / "sr.dcm"), pydicom.dcmread(path)

    def count(item: Dataset) -> int:
        return 1 + sum(count(child) for child in item.get("ContentSequence", []))

    assert count(after) == count(before) > 20
    gone = ("SyntheticData", "ContentQualification", "ContributingEquipmentSequence")
    assert [keyword for keyword in gone if keyword in after] == []
    with pytest.raises(ProvenanceError):
        read_private(after)
    assert not passes(check_file(path)), "without its marks it is not called ours and valid"


def test_dcm2xml_and_xml2dcm_make_no_object_of_ours(
    written: Path, tool: Tool, tmp_path: Path
) -> None:
    xml = tmp_path / "sc.xml"
    assert tool("dcm2xml", "+Wb", written / "sc.dcm", xml).returncode == 0
    assert tool("xml2dcm", xml, tmp_path / "back.dcm").returncode != 0


def test_dciodvfy_of_2022_exits_0_with_an_error_and_check_goes_by_its_lines(
    written: Path, tool: Tool
) -> None:
    done = tool("dciodvfy", written / "sc.dcm")
    lines = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("Error")]
    assert done.returncode == 0
    assert ["0x0008,0x001c" in line for line in lines] == [True], "it knows SyntheticData now"
    allowed = [f for f in run_dciodvfy(written / "sc.dcm") if "0x001c" in f.sentence]
    assert Severity.ALLOWED in {finding.severity for finding in allowed}


def test_dcmj2pnm_draws_the_window_that_the_edit_names(
    written: Path, tool: Tool, tmp_path: Path
) -> None:
    dataset = pydicom.dcmread(written / "sc.dcm")
    assert tool("dcmj2pnm", "+Wi", "1", "+op", written / "sc.dcm", "edit.pgm").returncode == 0
    drawn = np.frombuffer((tmp_path / "edit.pgm").read_bytes()[-66 * 62 :], np.uint8)
    low = dataset.WindowCenter - dataset.WindowWidth / 2
    level = (dataset.pixel_array.astype(float) - low) / dataset.WindowWidth
    np.testing.assert_allclose(drawn.reshape(66, 62), 255 * np.clip(level, 0, 1), atol=2)


def test_a_dicomdir_of_an_edit_lists_its_three_objects(
    written: Path, tool: Tool, tmp_path: Path
) -> None:
    for number, name in enumerate(("sc", "seg", "sr")):
        dataset = pydicom.dcmread(written / f"{name}.dcm")
        dataset.save_as(tmp_path / f"FILE{number}", enforce_file_format=True)
    done = tool("dcmmkdir", "--invent", "FILE0", "FILE1", "FILE2")
    assert done.returncode == 0, done.stderr
    listed = pydicom.dcmread(tmp_path / "DICOMDIR").DirectoryRecordSequence
    kinds = [record.DirectoryRecordType for record in listed]
    assert [kinds.count(kind) for kind in ("IMAGE", "SR DOCUMENT")] == [
        2,
        1,
    ]  # a SEG is an image there


def test_orthanc_anonymises_record_and_report_away_and_leaves_the_mark(
    written: Path, start_orthanc
) -> None:
    server = start_orthanc()
    for name in ("sc", "sr"):
        server.upload((written / f"{name}.dcm").read_bytes())
    made = {}
    for instance in server.rest("GET", "/instances").json():
        content = server.rest("POST", f"/instances/{instance}/anonymize", data="{}").content
        dataset = pydicom.dcmread(pydicom.filebase.DicomBytesIO(content))
        made[dataset.Modality] = dataset
    assert {d.SyntheticData for d in made.values()} == {"YES"}
    for dataset in made.values():
        with pytest.raises(ProvenanceError):
            read_private(dataset)
    assert made["SR"].CompletionFlag == "COMPLETE"
    assert len(made["SR"].ContentSequence) == 0, "the report's content is left"


def test_every_test_that_the_page_names_is_there() -> None:
    named = set(re.findall(r"`(test_[a-z0-9_]+)`", PAGE.read_text()))
    here = "".join(path.read_text() for path in Path(__file__).parents[1].rglob("test_*.py"))
    assert len(named) >= 12
    assert {name for name in named if f"def {name}(" not in here} == set()


def test_an_edit_that_came_to_orthanc_over_implicit_vr_is_found_and_told_from_a_film(
    written: Path, tool: Tool, start_orthanc, tmp_path: Path
) -> None:
    server = start_orthanc()
    for name in ("sc", "seg", "sr"):
        assert tool("dcmconv", "+ti", written / f"{name}.dcm", f"{name}.dcm").returncode == 0
        server.upload((tmp_path / f"{name}.dcm").read_bytes())
    archive = open_archive(server.dicom_web)
    sc = pydicom.dcmread(written / "sc.dcm")
    path = f"/studies/{sc.StudyInstanceUID}/metadata"
    told = server.rest("GET", f"/dicom-web{path}").json()
    synthetic = [row.get("0008001C", {}) for row in told]
    assert [entry.get("vr") for entry in synthetic] == ["UN"] * 3, "Orthanc knows SyntheticData now"
    (edit,) = Ledger(archive).edits(Query(study_instance_uid=sc.StudyInstanceUID))
    assert edit.record == read_private(sc)
    held = archive.find(Query(study_instance_uid=sc.StudyInstanceUID))
    assert archive.headers(held) == {}, "what only refers to SyntheticData is fetched instead"
    with pytest.raises(DicomError, match="synthetic"):
        read_film(archive.fetch(next(each for each in held if each.modality == sc.Modality)))
