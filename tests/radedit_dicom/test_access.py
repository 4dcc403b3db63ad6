"""Passwords and certificates come from the environment and are never shown."""

from __future__ import annotations

from dataclasses import replace

import pytest

from radedit_dicom.access import Access, Authorization
from radedit_dicom.errors import ArchiveError


def test_each_attribute_is_read_from_its_variable(tmp_path):
    pem = tmp_path / "a.pem"
    pem.write_text("x")
    environ = {
        "RADEDIT_ARCHIVE_USERNAME": "physicist",
        "RADEDIT_ARCHIVE_PASSWORD": "s3cr3t",
        "RADEDIT_ARCHIVE_CA_FILE": str(pem),
        "RADEDIT_ARCHIVE_CLIENT_CERT": str(pem),
        "RADEDIT_ARCHIVE_CLIENT_KEY": str(pem),
        "RADEDIT_ARCHIVE_AE_TITLE": "QA",
        "RADEDIT_ARCHIVE_RETRIEVE": "move",
        "RADEDIT_ARCHIVE_MOVE_PORT": "11112",
        "RADEDIT_ARCHIVE_ATTEMPTS": "9",
        "RADEDIT_ARCHIVE_TIMEOUT_S": "2.5",
        "RADEDIT_ARCHIVE_TOKEN": "",  # empty is not set
        "RADEDIT_DEVICE": "cpu",  # somebody else's
    }
    assert Access.from_environment(environ) == Access(
        username="physicist",
        password="s3cr3t",
        ca_file=pem,
        client_cert=pem,
        client_key=pem,
        ae_title="QA",
        retrieve="move",
        move_port=11112,
        attempts=9,
        timeout_s=2.5,
    )


def test_without_variables_nothing_is_shown_to_the_archive():
    assert Access.from_environment({}) == Access()


def test_a_secret_is_read_from_a_file_less_the_line_break_at_its_end(tmp_path):
    (tmp_path / "token").write_text("t0k3n\n")
    (tmp_path / "password").write_text(" s3cr3t ü\n")
    token = Access.from_environment({"RADEDIT_ARCHIVE_TOKEN_FILE": str(tmp_path / "token")})
    assert token.token == "t0k3n"
    user = {"RADEDIT_ARCHIVE_USERNAME": "physicist"}
    password = {"RADEDIT_ARCHIVE_PASSWORD_FILE": str(tmp_path / "password")}
    assert Access.from_environment(user | password).password == "s3cr3t ü"


@pytest.mark.parametrize(
    ("kind", "user", "first", "second"),
    [
        ("TOKEN", {}, "Bearer one", "Bearer two"),
        ("PASSWORD", {"RADEDIT_ARCHIVE_USERNAME": "qa"}, "Basic cWE6b25l", "Basic cWE6dHdv"),
    ],
)
def test_a_secret_that_is_renewed_in_its_file_is_shown_from_then_on(
    tmp_path, kind, user, first, second
):
    file = tmp_path / "secret"
    file.write_text("one\n")
    access = Access.from_environment(user | {f"RADEDIT_ARCHIVE_{kind}_FILE": str(file)})
    authorization = Authorization(replace(access, attempts=1))
    assert authorization.header() == first
    file.write_text("")  # as while it is being written
    assert authorization.header() == first
    file.unlink()
    assert authorization.header() == first
    file.write_text("two\n")
    assert authorization.header() == second


def test_no_secret_is_in_the_text_of_an_access():
    access = Access(username="physicist", password="s3cr3t")
    assert "s3cr3t" not in f"{access!r} {access} {Access(token='s3cr3t')}"


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"PASSWORT": "s3cr3t"}, "RADEDIT_ARCHIVE_PASSWORT is not known; known are"),
        ({"USERNAME": "physicist"}, "belong together"),
        ({"PASSWORD": "s3cr3t"}, "belong together"),
        ({"USERNAME": "a", "PASSWORD": "s3cr3t", "TOKEN": "s3cr3t"}, "not both"),
        ({"TOKEN": "s3cr3t\nX-Header: 1"}, "line break"),
        ({"TOKEN": "s3cr3t", "TOKEN_FILE": "/nowhere"}, "are both set"),
        ({"TOKEN_FILE": "/nowhere"}, "cannot be read"),
        ({"CA_FILE": "/nowhere"}, "ca_file is no file"),
        ({"CLIENT_CERT": "/"}, "client_cert is no file"),
        ({"MOVE_PORT": "s3cr3t"}, "MOVE_PORT is no number"),
        ({"TIMEOUT_S": "s3cr3t"}, "TIMEOUT_S is no number"),
        ({"TIMEOUT_S": "nan"}, "timeout above 0"),
        ({"ATTEMPTS": "0"}, "at least 1 attempt"),
        ({"STRICT": "s3cr3t"}, "neither true nor false"),
    ],
)
def test_what_contradicts_itself_is_refused_without_quoting_it(environ, said):
    with pytest.raises(ArchiveError, match=said) as caught:
        Access.from_environment({f"RADEDIT_ARCHIVE_{name}": v for name, v in environ.items()})
    assert "s3cr3t" not in str(caught.value)


def test_a_key_needs_its_certificate(tmp_path):
    (tmp_path / "key").write_text("x")
    with pytest.raises(ArchiveError, match="key without its certificate"):
        Access(client_key=tmp_path / "key")


def test_a_secret_file_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "token").write_bytes(b"\xff\xfe")
    with pytest.raises(ArchiveError, match="it is no text"):
        Access.from_environment({"RADEDIT_ARCHIVE_TOKEN_FILE": str(tmp_path / "token")})
