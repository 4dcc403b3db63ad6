"""Frames that an archive does not cut out itself.

A segmentation's frames are one bit a pixel, one right behind the other; where a frame is no
whole number of bytes, Orthanc refuses to give one alone, and OHIF asks for nothing else. The
object is fetched whole then, and the frame cut out here.
"""

from __future__ import annotations

import re
from typing import Final

import anyio.to_thread
from fastapi.responses import Response

from radedit.lib.errors import RadEditError
from radedit.lib.serving.folder_objects import frame_numbers, frames
from radedit.lib.serving.folder_web import multipart
from radedit_dicom.archive import Archive, Instance
from radedit_dicom.errors import DicomError
from radedit_dicom.uids import UID_PATTERN

_FRAMES: Final = re.compile(
    rf"studies/({UID_PATTERN})/series/({UID_PATTERN})/instances/({UID_PATTERN})/frames/([0-9,]+)"
)


async def cut_frames(archive: Archive, path: str) -> Response | None:
    """Answer a request for frames that the archive has refused.

    Parameters
    ----------
    path : of the request, behind /dicom-web/

    Returns
    -------
    the frames as they are stored; None: the request is for no frames, or they cannot be had
    """
    wanted = _FRAMES.fullmatch(path)
    if wanted is None:
        return None
    study, series, instance, numbers = wanted.groups()

    def cut() -> tuple[str, list[bytes]]:
        return frames(archive.fetch(Instance(study, series, instance)), frame_numbers(numbers))

    try:
        return multipart(*await anyio.to_thread.run_sync(cut))
    except (RadEditError, DicomError):
        return None  # what the archive has said counts
