"""From what a person writes to the right archive, or to one clear sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from radedit_dicom.access import Access
from radedit_dicom.archive import Query
from radedit_dicom.dimse import DimseArchive
from radedit_dicom.errors import ArchiveError
from radedit_dicom.folder import FolderArchive
from radedit_dicom.locate import is_server, open_archive, split_address
from radedit_dicom.web import WebArchive


@pytest.mark.parametrize("text", ["studies", "/data/a#b", "C:/films", "./http:/x", "~/films"])
def test_a_path_is_a_folder_whatever_is_in_it(text):
    assert not is_server(text)
    assert split_address(text) == (text, Query())
    archive = open_archive(text)
    assert isinstance(archive, FolderArchive)
    assert archive.folder == Path(text).expanduser()


def test_an_address_on_the_web_is_dicomweb_with_the_access_given():
    access = Access(token="t")
    archive = open_archive("HTTPS://pacs.example:8443/dicom-web/", access)
    assert isinstance(archive, WebArchive)
    assert archive.address.url == "https://pacs.example:8443/dicom-web"
    assert archive.address.access is access


def test_a_dimse_address_gives_both_titles_host_and_port(tmp_path):
    pem = tmp_path / "a.pem"
    pem.write_text("x")
    access = Access(
        ca_file=pem,
        client_cert=pem,
        ae_title="QA",
        retrieve="move",
        move_port=11112,
        attempts=3,
        timeout_s=7.0,
    )
    archive = open_archive("dimse://MAIN%20PACS@pacs.example:11113", access)
    assert isinstance(archive, DimseArchive)
    address = archive.address
    assert (address.host, address.port) == ("pacs.example", 11113)
    assert (address.called_ae_title, address.calling_ae_title) == ("MAIN PACS", "QA")
    assert (address.retrieve, address.move_port, address.retries) == ("move", 11112, 2)
    assert address.timeouts.response_s == 7.0
    assert address.tls is not None
    assert (address.tls.ca_file, address.tls.certificate_file, address.tls.key_file) == (pem,) * 3
    plain = open_archive("dimse://PACS@pacs.example")
    assert isinstance(plain, DimseArchive)
    assert (plain.address.port, plain.address.tls) == (104, None)


@pytest.mark.parametrize(
    ("address", "access", "said"),
    [
        ("ftp://pacs/films", {}, "unknown scheme"),
        ("http://me:s3cr3t@pacs/dicom-web", {}, "RADEDIT_ARCHIVE_PASSWORD_FILE"),
        ("http://pacs:x/dicom-web", {}, "malformed"),
        ("dimse://pacs:104", {}, "dimse://CALLED_AET@HOST:PORT"),
        ("dimse://PACS:s3cr3t@pacs:104", {}, "without a password"),
        ("dimse://PACS@pacs:99999", {}, "malformed"),
        ("dimse://PACS@:104", {}, "malformed"),
        ("dimse://SEVENTEEN_LETTERS@pacs:104", {}, "AE title"),
        ("dimse://PACS@pacs:104", {"retrieve": "push"}, "get or move"),
    ],
)
def test_an_address_of_another_form_is_refused_without_its_password(address, access, said):
    with pytest.raises(ArchiveError, match=said) as caught:
        open_archive(address, Access(**access))
    assert "s3cr3t" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("", Query()),
        ("#", Query()),
        ("#1.2", Query("1.2")),
        ("#1.2/3.4", Query("1.2", "3.4")),
        ("#1.2/3.4/", Query("1.2", "3.4")),
        ("#1.2/3.4/5.6", Query("1.2", "3.4", "5.6")),
    ],
)
def test_uids_behind_an_address_are_split_off(text, query):
    for place in ("http://pacs:8042/dicom-web", "dimse://PACS@pacs:104"):
        assert split_address(place + text) == (place, query)


@pytest.mark.parametrize("text", ["#1/2/3/4", "#1.2/../x", "#all", "#1.2//3"])
def test_what_is_no_uid_behind_an_address_is_refused(text):
    with pytest.raises(ArchiveError, match="UID"):
        split_address("http://pacs/dicom-web" + text)
