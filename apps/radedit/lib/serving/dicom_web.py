"""The archive's DICOMweb at this origin: passed on to a server, or answered from a folder."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from fastapi import APIRouter, HTTPException

from radedit.lib.served import ServedPlace
from radedit.lib.serving.films import Films
from radedit_dicom.access import Access
from radedit_dicom.folder import FolderArchive
from radedit_dicom.locate import split_address
from radedit_dicom.uids import UID_LENGTH, UID_PATTERN

PREFIX: Final = "/dicom-web"
_UID: Final = rf"(?![0-9.]{{{UID_LENGTH + 1}}}){UID_PATTERN}"
_TAIL: Final = (
    r"(?:/(?:metadata|rendered|thumbnail|bulk(?:data)?(?:/[0-9A-Za-z.]{1,64}){0,32}"
    r"|frames/[0-9]{1,6}(?:,[0-9]{1,6}){0,63}(?:/(?:rendered|thumbnail))?))?"
)
#: What PS3.18, 10.1 names; nothing else of an archive's paths can be reached from here.
PATHS: Final = re.compile(
    rf"studies(?:/{_UID}(?:/(?:metadata|rendered|thumbnail|instances"
    rf"|series(?:/{_UID}(?:/(?:metadata|rendered|thumbnail"
    rf"|instances(?:/{_UID}{_TAIL})?))?)?))?)?|series|instances"
)


@dataclass(frozen=True)
class ServedArchive:
    """The routes of /dicom-web, and how to let go of what they hold."""

    router: APIRouter
    close: Callable[[], Awaitable[None]]


def served_archive(place: ServedPlace, studies: str, films: Films) -> ServedArchive:
    """Make the routes under /dicom-web.

    Parameters
    ----------
    place : the archive of films and that of results
    studies : as the server was told: a folder's path or an address
    films : told when objects come in

    Raises
    ------
    ArchiveError
        The address is malformed.
    """
    from radedit.lib.serving.dicom_proxy import Proxy
    from radedit.lib.serving.folder_web import FolderWeb

    if isinstance(place.archive, FolderArchive):
        folders = [a for a in (place.archive, place.output) if isinstance(a, FolderArchive)]
        return ServedArchive(FolderWeb(folders, films.store).router(), _nothing)
    address = split_address(studies)[0]
    if not address.startswith(("http://", "https://")):
        return ServedArchive(_without(), _nothing)
    proxy = Proxy(address, Access.from_environment(), films.refresh)
    return ServedArchive(proxy.router(), proxy.close)


async def _nothing() -> None:
    """Let go of nothing."""


def _without() -> APIRouter:
    router = APIRouter(include_in_schema=False)

    @router.api_route(f"{PREFIX}/{{path:path}}", methods=["GET", "POST"])
    def refused(path: str) -> None:
        raise HTTPException(
            404,
            "The archive is reached by DIMSE, which has no DICOMweb to pass on; serve its "
            "http(s)://HOST:PORT/dicom-web address to see it in the viewer.",
        )

    return router


def checked_path(path: str) -> str:
    """Let only a DICOMweb resource's path pass.

    Parameters
    ----------
    path : from the network, behind /dicom-web/

    Raises
    ------
    fastapi.HTTPException
        404: it is none.
    """
    if not PATHS.fullmatch(path):
        raise HTTPException(404, "There is no such DICOMweb resource here.")
    return path
