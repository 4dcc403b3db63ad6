"""No UID gets into a log, whoever wrote the line."""

from __future__ import annotations

import io
import logging

import pytest
from pydicom.uid import generate_uid

from radedit.lib.log_output import WithoutUids


def logged(message: str, *arguments: object, error: Exception | None = None) -> str:
    """Give what a line becomes on its way to the log."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(WithoutUids("%(name)s: %(message)s"))
    logger = logging.getLogger("somebody.elses.library")
    logger.addHandler(handler)
    try:
        logger.error(message, *arguments, exc_info=error)
    finally:
        logger.removeHandler(handler)
    return stream.getvalue()


@pytest.mark.parametrize(
    "uid", [generate_uid(), generate_uid(prefix=None), "1.2.840.10008.1.2", "0.4.0.127.0.7"]
)
@pytest.mark.parametrize("around", ["film {}", "/studies/{}/series", "{}.dcm", "'{}'", "uid={}."])
def test_a_uid_that_a_library_quotes_is_not_logged(uid: str, around: str) -> None:
    assert uid not in logged(around.format(uid))
    assert uid not in logged("of %s", around.format(uid))


def test_a_uid_in_a_traceback_is_not_logged() -> None:
    uid = generate_uid()
    try:
        raise KeyError(uid)
    except KeyError as error:
        text = logged("failed", error=error)
    assert "KeyError" in text
    assert uid not in text


@pytest.mark.parametrize(
    "said", ["127.0.0.1:8042", "10.2.255.16", "torch 2.13.0+cpu", "took 1.234 s", "2026-11-30 1.5"]
)
def test_addresses_versions_and_durations_stay(said: str) -> None:
    assert logged(said) == f"somebody.elses.library: {said}\n"
