"""One film: its stored values, exactly, and its header."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames

from radedit_dicom.codestream import codestream_size, mended
from radedit_dicom.decoders import read_pixels, truncated
from radedit_dicom.errors import UnsupportedImageError
from radedit_dicom.gate import check_film, is_native
from radedit_dicom.padding import padding_mask, padding_range
from radedit_dicom.parsing import parse
from radedit_dicom.uids import is_uid

MAX_PIXELS = 8192 * 8192
#: Room in a file for everything but the pixels, such as overlays and private elements.
MAX_HEADER_BYTES = 64 * 2**20

#: Stored values: uint16 [rows, columns] when unsigned, int32 when signed.
Stored = NDArray[np.uint16] | NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Film:
    """A decoded radiograph.

    Attributes
    ----------
    stored : uint16 or int32 [rows, columns]
        The stored values; int32 when the pixel representation is signed. Bits above the
        high bit are cleared (or sign-extended).
    header : pydicom.Dataset
        All attributes but the pixel data, with ``file_meta``.
    bits_stored : int
        8 to 16.
    signed : bool
        Pixel representation 1.
    photometric : str
        MONOCHROME1 or MONOCHROME2.
    spacing_mm : (float, float) or None
        Row and column spacing: PixelSpacing, else ImagerPixelSpacing; None when absent or 0.
    padding : bool [rows, columns]
        True = pixel padding (PS3.3 C.7.5.1.1.2), no part of the patient.
    transfer_syntax : str
        UID of the source's transfer syntax.
    decoder : str
        What read compressed pixels, with its version (`decoders.decoded`); "" = nothing had to.
    """

    stored: Stored
    header: Dataset
    bits_stored: int
    signed: bool
    photometric: str
    spacing_mm: tuple[float, float] | None
    padding: NDArray[np.bool_]
    transfer_syntax: str
    decoder: str = ""

    @property
    def sop_instance_uid(self) -> str:
        """SOP Instance UID of the film."""
        return str(self.header.SOPInstanceUID)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return int(self.stored.shape[0]), int(self.stored.shape[1])

    @property
    def is_mirrored(self) -> bool:
        """Whether columns run to the patient's right: the film is seen from behind."""
        orientation = self.header.get("PatientOrientation") or [""]
        return str(orientation[0]).startswith("R")

    @property
    def stored_range(self) -> tuple[int, int]:
        """Smallest and largest legal stored value, both included."""
        return stored_range(self.bits_stored, self.signed)

    @property
    def padding_range(self) -> tuple[int, int] | None:
        """Smallest and largest stored value that means padding; None without padding."""
        return padding_range(self.header, self.stored_range)


def stored_range(bits_stored: int, signed: bool) -> tuple[int, int]:
    """Smallest and largest value that fits, both included."""
    if signed:
        return -(1 << (bits_stored - 1)), (1 << (bits_stored - 1)) - 1
    return 0, (1 << bits_stored) - 1


def read_film(
    source: Path | bytes | Dataset,
    *,
    allow_synthetic: bool = False,
    max_pixels: int = MAX_PIXELS,
    decoder: str = "",
) -> Film:
    """Read one frontal chest film, or say in one sentence why not.

    Parameters
    ----------
    source : pathlib.Path, bytes or pydicom.Dataset
        A DICOM Part 10 file, its content, or a parsed object with ``file_meta``.
    allow_synthetic : bool
        True: also accept what is marked synthetic, our own Secondary Captures included.
    max_pixels : int
        Refuse, before decoding, when rows x columns x frames is more; and, before reading,
        a file of more than two bytes for each of them and `MAX_HEADER_BYTES`.
    decoder : str
        The one plugin to read compressed pixels with (`decoders.installed`); "" = the first that
        can.

    Returns
    -------
    Film

    Raises
    ------
    NotDicomError
        No Part 10 object, or one that cannot be parsed.
    AlreadySyntheticError
        Marked synthetic, and `allow_synthetic` is False.
    UnsupportedImageError
        Not one frontal greyscale chest film; too large; truncated; not decodable; all padding.
    """
    _check_size(source, 2 * max_pixels + MAX_HEADER_BYTES)
    header = parse(source, pixels=False)
    check_header(header, allow_synthetic=allow_synthetic, max_pixels=max_pixels)
    whole = parse(source, pixels=True)
    stored, read_by = _decode(whole, decoder)
    signed = int(header.PixelRepresentation) == 1
    padding = padding_mask(
        stored, padding_range(header, stored_range(int(header.BitsStored), signed))
    )
    if padding.all():
        raise UnsupportedImageError(
            "Every pixel of the film is padding (PixelPaddingValue), so it shows nothing; "
            "choose a film with a picture, or have this one exported again."
        )
    return Film(
        stored=stored,
        header=header,
        bits_stored=int(header.BitsStored),
        signed=signed,
        photometric=str(header.PhotometricInterpretation),
        spacing_mm=pixel_spacing(header),
        padding=padding,
        transfer_syntax=str(header.file_meta.TransferSyntaxUID),
        decoder=read_by,
    )


def check_header(
    header: Dataset, *, allow_synthetic: bool = False, max_pixels: int = MAX_PIXELS
) -> None:
    """Refuse, by its header, what `read_film` would refuse; what is in the pixels it cannot see.

    Raises
    ------
    AlreadySyntheticError, UnsupportedImageError
        As `read_film`.
    """
    check_film(header, allow_synthetic=allow_synthetic, max_pixels=max_pixels)
    _check_identity(header)


def _check_size(source: Path | bytes | Dataset, most: int) -> None:
    """Refuse by the size of the file, before a byte of it is in memory."""
    if isinstance(source, Dataset):
        return
    try:
        found = len(source) if isinstance(source, bytes) else source.stat().st_size
    except OSError:
        return  # the parser says why it cannot be opened
    if found > most:
        raise UnsupportedImageError(
            f"The file has {found} bytes, but a film of the largest size that is read has at "
            f"most {most}; choose a single radiograph."
        )


def _check_identity(header: Dataset) -> None:
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"):
        if not is_uid(header.get(keyword, "")):
            raise UnsupportedImageError(
                f"The attribute {keyword} is missing or no valid UID, so results could not refer "
                "to the film; have it exported again."
            )


def _decode(dataset: Dataset, decoder: str) -> tuple[Stored, str]:
    if "PixelData" not in dataset or not dataset.PixelData:
        raise UnsupportedImageError(
            "The object has no pixel data, although its header describes an image; "
            "fetch the complete object."
        )
    native = is_native(dataset.file_meta.TransferSyntaxUID)
    frame = _native_frame(dataset) if native else _packed_frame(dataset)
    dataset.add_new("PixelData", dataset["PixelData"].VR, frame)
    dataset.SamplesPerPixel = 1  # as admitted; it may be absent
    values, read_by = read_pixels(dataset, decoder)
    if values.shape != (dataset.Rows, dataset.Columns):
        raise truncated("another size")
    bits, signed = int(dataset.BitsStored), int(dataset.PixelRepresentation) == 1
    return _masked(values, bits, signed), read_by


def _masked(values: NDArray[Any], bits_stored: int, signed: bool) -> Stored:
    """Clear what lies above the high bit (old overlays, noise), extending the sign."""
    bits = values.astype(np.int32) & ((1 << bits_stored) - 1)
    if not signed:
        return bits.astype(np.uint16)
    sign = np.int32(1 << (bits_stored - 1))
    return (bits ^ sign) - sign


def _native_frame(dataset: Dataset) -> bytes:
    """Give the samples without what follows them: less than a row of it is no row too few."""
    expected = int(dataset.Rows) * int(dataset.Columns) * int(dataset.BitsAllocated) // 8
    found, row = len(dataset.PixelData), expected // int(dataset.Rows)
    if not expected <= found < expected + max(row, 2):
        said = "the file is truncated or damaged" if found < expected else "they hold another image"
        raise UnsupportedImageError(
            f"The pixel data hold {found} bytes, but {expected} are needed for "
            f"{dataset.Rows} x {dataset.Columns} pixels; {said}, fetch it again."
        )
    return bytes(dataset.PixelData[:expected]) + b"\0" * (expected % 2)


def _packed_frame(dataset: Dataset) -> bytes:
    """Give the compressed frame, of which decoders take more than the standard allows.

    The size inside is compared with the header before anything is decoded.
    """
    try:
        frame = next(generate_frames(dataset.PixelData, number_of_frames=1))
        size = codestream_size(frame)
        whole = mended(frame)
    except (StopIteration, ValueError, LookupError, struct.error, EOFError) as error:
        raise truncated(type(error).__name__) from None
    # JPEG, JPEG-LS and JPEG 2000 all end with FFD9; some decoders fill in what is missing.
    if size is not None and not frame.rstrip(b"\0\xff").endswith(b"\xff\xd9"):
        raise truncated("no end of image")
    if size is not None and size != (dataset.Rows, dataset.Columns):
        raise UnsupportedImageError(
            f"The compressed pixels are {size[0]} x {size[1]}, but the header declares "
            f"{dataset.Rows} x {dataset.Columns}; the file is damaged, fetch it again."
        )
    return bytes(dataset.PixelData) if whole == frame else encapsulate([whole])


def positive_pair(header: Dataset, keyword: str) -> tuple[float, float] | None:
    """Read a spacing: two positive finite numbers, or None for anything else (such as 0)."""
    value = header.get(keyword)
    if value is None or isinstance(value, str | bytes | float | int) or len(value) != 2:
        return None
    try:
        row, column = float(value[0]), float(value[1])
    except (TypeError, ValueError):
        return None
    usable = 0 < row < float("inf") and 0 < column < float("inf")
    return (row, column) if usable else None


def pixel_spacing(header: Dataset) -> tuple[float, float] | None:
    """Give row and column spacing in mm, as `Film.spacing_mm` has it."""
    found = positive_pair(header, "PixelSpacing")
    return found if found is not None else positive_pair(header, "ImagerPixelSpacing")
