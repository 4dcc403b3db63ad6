"""The objects of folders, as DICOMweb shows them: headers as JSON, frames, pictures."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.uid import UID, ExplicitVRBigEndian

from radedit.lib.errors import NotFoundError, ParameterError
from radedit.lib.serving.folder_search import INSTANCE_UID, SERIES_UID, STUDY_UID, Row, text
from radedit_dicom.errors import DicomError, UnsupportedImageError
from radedit_dicom.film import read_film
from radedit_dicom.folder import FolderArchive
from radedit_dicom.parsing import parse
from radedit_dicom.pixels import to_display

THUMBNAIL_PX: Final = 256
NATIVE: Final = "application/octet-stream"
_MEDIA: Final = {  # PS3.18, table 8.7.3-5
    "1.2.840.10008.1.2.4.50": "image/jpeg",
    "1.2.840.10008.1.2.4.51": "image/jpeg",
    "1.2.840.10008.1.2.4.57": "image/jpeg",
    "1.2.840.10008.1.2.4.70": "image/jpeg",
    "1.2.840.10008.1.2.4.80": "image/jls",
    "1.2.840.10008.1.2.4.81": "image/jls",
    "1.2.840.10008.1.2.4.90": "image/jp2",
    "1.2.840.10008.1.2.4.91": "image/jp2",
    "1.2.840.10008.1.2.5": "image/dicom-rle",
}


class FolderObjects:
    """The objects of some folders; each header is read once.

    Parameters
    ----------
    archives : the folders; one may lie in another
    """

    def __init__(self, archives: Sequence[FolderArchive]) -> None:
        self._archives = archives
        self._lock = threading.Lock()
        self._read: dict[Path, tuple[tuple[int, int], Row]] = {}

    def headers(self, study: str = "", series: str = "", instance: str = "") -> list[Row]:
        """Give the headers under the UIDs that are not "", in the order of their UIDs.

        Raises
        ------
        ArchiveError
            A folder cannot be read.
        """
        return [row for _, row in self._found(study, series, instance)]

    def paths(self, study: str, series: str = "", instance: str = "") -> list[Path]:
        """Say where the objects of `headers` lie.

        Raises
        ------
        NotFoundError
            There is none under these UIDs.
        ArchiveError
            A folder cannot be read.
        """
        found = self._found(study, series, instance)
        if not found:
            raise NotFoundError("The folder holds no such object.")
        return [path for path, _ in found]

    def _found(self, study: str, series: str, instance: str) -> list[tuple[Path, Row]]:
        wanted = {STUDY_UID: study, SERIES_UID: series, INSTANCE_UID: instance}
        found = [
            (path, row)
            for path, row in self._all().items()
            if all(not uid or text(row, tag) == uid for tag, uid in wanted.items())
        ]
        return sorted(found, key=lambda one: [text(one[1], tag) for tag in wanted])

    def _all(self) -> dict[Path, Row]:
        held = {path.resolve() for archive in self._archives for path in archive.held()}
        with self._lock:
            known: dict[Path, tuple[tuple[int, int], Row]] = {}
            for path in held:
                try:
                    state = path.stat()
                    stamp = (state.st_mtime_ns, state.st_size)
                    before = self._read.get(path)
                    fresh = before is None or before[0] != stamp
                    known[path] = (stamp, _row(path)) if fresh or before is None else before
                except (OSError, DicomError):
                    continue  # it went, or was replaced, since the folder was listed
            self._read = known
            return {path: row for path, (_, row) in known.items()}


def frames(path: Path | bytes, numbers: Sequence[int]) -> tuple[str, list[bytes]]:
    """Take frames of an image as they are stored.

    Parameters
    ----------
    path : the file, or its content
    numbers : from 1 on

    Returns
    -------
    media type with the transfer syntax, and each frame's bytes

    Raises
    ------
    NotFoundError
        It has no pixels, or no such frame.
    DicomError
        It cannot be read, or its bytes are in an order that no viewer takes.
    """
    dataset = parse(path, pixels=True)
    count = int(dataset.get("NumberOfFrames") or 1)
    if "PixelData" not in dataset or not all(1 <= number <= count for number in numbers):
        raise NotFoundError("The object has no such frame.")
    syntax = UID(dataset.file_meta.TransferSyntaxUID)
    if syntax == ExplicitVRBigEndian:
        raise UnsupportedImageError("The image is stored big endian, which no viewer takes.")
    if not syntax.is_compressed:
        return NATIVE, [_native(dataset, number - 1, count) for number in numbers]
    data: bytes = dataset.PixelData
    media = f"{_MEDIA.get(syntax, NATIVE)}; transfer-syntax={syntax}"
    return media, [get_frame(data, number - 1, number_of_frames=count) for number in numbers]


def picture(path: Path, form: str, largest_px: int = 0) -> bytes:
    """Draw a film as a reader sees it.

    Parameters
    ----------
    form : "jpeg" or "png"
    largest_px : of the longer side; 0 = as large as the film

    Raises
    ------
    DicomError
        It is no film.
    """
    shown = to_display(read_film(path, allow_synthetic=True))
    image = Image.fromarray(np.round(shown * 255).astype(np.uint8))
    if largest_px:
        image.thumbnail((largest_px, largest_px))
    stream = io.BytesIO()
    image.save(stream, form)
    return stream.getvalue()


def frame_numbers(said: str) -> list[int]:
    """Read "1,3,4".

    Raises
    ------
    ParameterError
        It is no such list.
    """
    try:
        return [int(number) for number in said.split(",")]
    except ValueError:
        raise ParameterError("Frames are numbers with commas between; give those.") from None


def _native(dataset: Dataset, index: int, count: int) -> bytes:
    values = int(dataset.Rows) * int(dataset.Columns) * int(dataset.get("SamplesPerPixel") or 1)
    bits = values * int(dataset.BitsAllocated)
    data: bytes = dataset.PixelData
    if bits * count > len(data) * 8:
        raise UnsupportedImageError("The image has fewer pixels than it says; send it anew.")
    if bits % 8 == 0:
        return data[index * bits // 8 : (index + 1) * bits // 8]
    first, skipped = divmod(index * bits, 8)
    around = np.frombuffer(data, np.uint8)[first : first + -(-(skipped + bits) // 8)]
    frame = np.unpackbits(around, bitorder="little")[skipped : skipped + bits]
    return np.packbits(frame, bitorder="little").tobytes()


def _row(path: Path) -> Row:
    """Read a header as JSON, without what JSON cannot hold."""
    row: Row = parse(path, pixels=False).to_json_dict(suppress_invalid_tags=True)
    return {tag: element for tag, element in row.items() if _is_json(element)}


def _is_json(element: object) -> bool:
    try:
        json.dumps(element, allow_nan=False)
    except ValueError:
        return False
    return True
