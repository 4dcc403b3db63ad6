"""An Orthanc that reconciles what it is sent, as many a PACS does: other names and descriptions."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest
from orthanc import Orthanc
from pydicom.dataset import Dataset

from radedit_dicom.access import Access
from radedit_dicom.archive import Archive
from radedit_dicom.errors import ArchiveError
from radedit_dicom.film import read_film
from radedit_dicom.locate import open_archive
from radedit_dicom.objects import EditObjects
from radedit_dicom.readback import part10
from radedit_dicom.router.sender import Destination, Line

COERCED = ("StudyDescription", "PatientName")
#: Called behind each object that was stored; the corrected one takes its place, under its UIDs.
RECONCILE = """
function OnStoredInstance(instance, tags, metadata)
  if tags['PatientName'] == 'Corrected^Name' then return end
  local change = {
    Replace = { PatientName = 'Corrected^Name', StudyDescription = 'Thorax pa' },
    Keep = { 'SOPInstanceUID', 'SeriesInstanceUID', 'StudyInstanceUID' },
    Force = true,
  }
  local corrected = RestApiPost('/instances/' .. instance .. '/modify', DumpJson(change, true))
  RestApiPost('/instances', corrected)
end
"""


@pytest.fixture(scope="module")
def orthanc(
    start_orthanc: Callable[..., Orthanc], tmp_path_factory: pytest.TempPathFactory
) -> Orthanc:
    script = tmp_path_factory.mktemp("lua") / "reconcile.lua"
    script.write_text(RECONCILE)
    return start_orthanc(extra={"LuaScripts": [str(script)], "OverwriteInstances": True})


@pytest.fixture(params=["dicomweb", "dimse"])
def opened(request: pytest.FixtureRequest, orthanc: Orthanc) -> Iterator[Callable[..., Archive]]:
    """Open the archive by either protocol."""
    dimse = f"dimse://{orthanc.aet}@127.0.0.1:{orthanc.dicom_port}"
    address = orthanc.dicom_web if request.param == "dicomweb" else dimse

    def open_it(**access: bool) -> Archive:
        return open_archive(address, Access(attempts=3, **access))

    yield open_it
    for patient in orthanc.rest("GET", "/patients").json():
        orthanc.rest("DELETE", f"/patients/{patient}")


def reconciled(orthanc: Orthanc, objects: list[Dataset]) -> None:
    """Wait until the archive has corrected all of them."""
    deadline = time.monotonic() + 60
    while any(b"Corrected^Name" not in orthanc.file(d.SOPInstanceUID) for d in objects):
        assert time.monotonic() < deadline, "Orthanc has corrected nothing"
        time.sleep(0.1)


def test_an_edit_is_stored_once_and_what_was_coerced_is_told(
    orthanc: Orthanc,
    opened: Callable[..., Archive],
    make_dataset: Callable[..., Dataset],
    make_edit: Callable[..., tuple[object, EditObjects]],
) -> None:
    _, made = make_edit(read_film(make_dataset(StudyDescription="as ordered")))
    objects = [made.seg, made.sr, made.sc]
    stored = opened().store(objects)
    reconciled(orthanc, objects)
    again = opened().store(objects)
    assert again == stored
    assert [each.coerced for each in again] == [COERCED] * 3
    assert orthanc.held() == sorted(str(d.SOPInstanceUID) for d in objects)
    with pytest.raises(ArchiveError, match="StudyDescription has another value"):
        opened(strict=True).store(objects)


def test_a_forwarded_original_is_no_dead_letter(
    orthanc: Orthanc, make_dataset: Callable[..., Dataset]
) -> None:
    film = make_dataset(StudyDescription="as ordered")
    line = Line(Destination("pacs", orthanc.dicom_web, Access(attempts=1)))
    line.deliver(part10(film), again=False)
    reconciled(orthanc, [film])
    assert line.deliver(part10(film), again=True) == COERCED
    assert line.check(part10(film)) == COERCED
    strict = Line(Destination("pacs", orthanc.dicom_web, Access(attempts=1, strict=True)))
    with pytest.raises(ArchiveError, match="StudyDescription has another value"):
        strict.deliver(part10(film), again=True)
