"""From untrusted bytes to a parsed header, without trusting any length in them.

What hostile or broken files do (a deflate bomb, nested sequences, values that do not
convert) is dealt with here; whether the object may be edited is decided in `gate`.
"""

from __future__ import annotations

import logging
import struct
import threading
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import pydicom
from pydicom import config
from pydicom.datadict import keyword_for_tag
from pydicom.dataset import Dataset, FileDataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_dataset, read_preamble
from pydicom.tag import BaseTag
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian

from radedit_dicom.errors import NotDicomError, UnsupportedImageError
from radedit_dicom.uids import is_uid

SUFFIXES = (".dcm", ".dicom")  # in lower case, of the names that files of objects mostly have
MAX_DEPTH = 32
_LEFT_OUT = "left_out"
_PREAMBLE = 132
#: How objects begin that were written without preamble, and without file meta information.
_BARE_META = b"\x02\0\0\0UL\x04\0"
_BARE_DATA = tuple(
    b"\x08\0" + element + kind
    for element in (b"\0\0", b"\1\0", b"\5\0", b"\6\0", b"\x08\0")
    for kind in (b"UL\x04\0", b"\x04\0\0\0", b"CS", b"UI", b"\x0a\0\0\0")
)
#: How pydicom begins what it says of a value that is set and breaks its VR; it quotes the value.
_QUOTES = "Invalid value for VR"
_T = TypeVar("_T", Dataset, UID)
_LOCK = threading.Lock()  # the switches below are global
#: What pydicom is seen to raise on broken bytes.
_PARSE_ERRORS = (
    InvalidDicomError,
    BytesLengthException,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    NotImplementedError,
    OSError,
    RecursionError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)


# Such values are checked where they are written (`study`, `conformance`). Here no log may hold one.
logging.getLogger("pydicom").addFilter(lambda record: not record.getMessage().startswith(_QUOTES))
warnings.filterwarnings("ignore", message=_QUOTES, category=UserWarning)


def parse(source: Path | bytes | Dataset, *, pixels: bool) -> Dataset:
    """Parse one DICOM Part 10 object.

    Parameters
    ----------
    source : pathlib.Path, bytes or pydicom.Dataset
        A file, its content, or an object already parsed (which is not changed).
    pixels : bool
        False: stop before the pixel data.

    Returns
    -------
    pydicom.Dataset
        With ``file_meta``; elements whose value does not convert are left out, so that
        no later access can fail.

    Raises
    ------
    NotDicomError
        No Part 10 object, or one that cannot be parsed.
    UnsupportedImageError
        Deflated transfer syntax: refused before inflating, as a few kilobytes of it can
        ask for gigabytes.
    """
    if isinstance(source, Dataset):
        return _settled(lambda: _copy(source, pixels))
    try:
        stream: BinaryIO = BytesIO(source) if isinstance(source, bytes) else source.open("rb")
    except OSError as error:
        reason = error.strerror or "the system gave no reason"
        raise NotDicomError(
            f"The file cannot be opened ({reason}); give the path of a readable DICOM file."
        ) from None
    with stream:
        syntax = _settled(lambda: transfer_syntax(stream))
        if syntax == DeflatedExplicitVRLittleEndian:
            raise UnsupportedImageError(
                f"The transfer syntax is {syntax} (deflated), which is not accepted because it "
                "can hide very large data; send the film uncompressed or losslessly compressed."
            )
        stream.seek(0)
        return _settled(lambda: pydicom.dcmread(stream, stop_before_pixels=not pixels))


def settled(dataset: Dataset) -> Dataset:
    """Convert every element of a dataset that came from a network, in place.

    Parameters
    ----------
    dataset : pydicom.Dataset
        Parsed but not looked at; elements whose value does not convert are left out.

    Returns
    -------
    pydicom.Dataset
        The same.

    Raises
    ------
    NotDicomError
        It cannot be parsed to its end.
    """
    return _settled(lambda: dataset)


def unreadable(dataset: Dataset) -> frozenset[str]:
    """Give the keywords of what `parse` left out of an object, as its value does not convert."""
    found: frozenset[str] = getattr(dataset, _LEFT_OUT, frozenset())
    return found


def from_json(row: Mapping[str, Any]) -> Dataset:
    """Make a header from DICOM JSON (PS3.18 F) that came from a network.

    Parameters
    ----------
    row : mapping
        Tag to element; values by reference are left empty.

    Raises
    ------
    NotDicomError
        It is none.
    """
    return _settled(lambda: Dataset.from_json(dict(row), lambda *_: None))


def transfer_syntax(stream: BinaryIO) -> UID:
    """Read the transfer syntax from the file meta group alone.

    Parameters
    ----------
    stream : binary file
        At its start; left anywhere.

    Returns
    -------
    pydicom.uid.UID

    Raises
    ------
    pydicom.errors.InvalidDicomError
        No ``DICM`` mark, or no transfer syntax behind it.
    """
    _check_preamble(stream)
    read_preamble(stream, force=False)
    meta = read_dataset(stream, False, True, stop_when=_after_meta)
    value = meta.get("TransferSyntaxUID")
    if not is_uid(value):
        raise InvalidDicomError("no transfer syntax")
    return UID(str(value))


def looks_like_dicom(path: Path) -> bool:
    """Tell by its first bytes whether a file is a DICOM object, whole, damaged or bare."""
    try:
        with path.open("rb") as stream:
            head = stream.read(_PREAMBLE)
    except OSError:
        return False
    return head[128:] == b"DICM" or head.startswith((_BARE_META, *_BARE_DATA))


def _check_preamble(stream: BinaryIO) -> None:
    """Say of an object without preamble what it lacks; leave the stream at its start."""
    head = stream.read(_PREAMBLE)
    stream.seek(0)
    if head[128:] == b"DICM" or not head.startswith((_BARE_META, *_BARE_DATA)):
        return
    lacking = "the preamble" if head.startswith(_BARE_META) else "file meta information"
    raise NotDicomError(
        f"The file holds DICOM elements without {lacking} in front, which a DICOM file begins with "
        "(PS3.10 7.1); have it exported as a DICOM file."
    )


def _after_meta(tag: BaseTag, vr: str | None, length: int) -> bool:
    return tag.group != 2


def _copy(source: Dataset, pixels: bool) -> Dataset:
    copied = Dataset()
    for element in source.values():
        if pixels or element.tag < 0x7FE00000:
            copied[element.tag] = element
    meta = getattr(source, "file_meta", None)
    if meta is None or "TransferSyntaxUID" not in meta:
        raise InvalidDicomError("no transfer syntax")
    copied.file_meta = meta
    if isinstance(source, FileDataset):
        implicit, little = source.original_encoding
        copied.set_original_encoding(implicit, little, source.original_character_set)
    setattr(copied, _LEFT_OUT, unreadable(source))
    return copied


def _settled(read: Callable[[], _T]) -> _T:
    """Run a parser, convert every element now, and map what goes wrong."""
    with _LOCK, _quiet(), config.disable_value_validation():
        try:
            result = read()
            if isinstance(result, Dataset):
                _convert_all(result, MAX_DEPTH)
        except NotDicomError:
            raise
        except _PARSE_ERRORS as error:
            raise NotDicomError(
                f"The input is no readable DICOM object ({type(error).__name__} while parsing); "
                "give an intact DICOM Part 10 file."
            ) from None
    return result


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep pydicom from warning and logging while it parses: it quotes what it reads."""
    logger = logging.getLogger("pydicom")
    was_disabled, logger.disabled = logger.disabled, True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.disabled = was_disabled


def _convert_all(dataset: Dataset, depth: int) -> None:
    """Turn raw elements into values; drop those that do not convert, bound the nesting."""
    if depth < 0:
        raise NotDicomError(
            f"Sequences are nested more than {MAX_DEPTH} deep, which no radiograph needs; "
            "give an intact DICOM Part 10 file."
        )
    for tag in list(dataset.keys()):
        try:
            element = dataset[tag]
        except _PARSE_ERRORS:
            del dataset[tag]
            setattr(dataset, _LEFT_OUT, unreadable(dataset) | {keyword_for_tag(tag)})
            continue
        if element.VR == "SQ":
            for item in element.value or []:
                _convert_all(item, depth - 1)
