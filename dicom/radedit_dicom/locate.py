"""From what a person writes to an archive.

A folder's path, ``http(s)://HOST:PORT/dicom-web`` or ``dimse://CALLED_AET@HOST:PORT``.
"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from radedit_dicom.access import NO_ACCESS, Access
from radedit_dicom.archive import Archive, Query, checked_uid
from radedit_dicom.errors import ArchiveError

__all__ = ["Access", "is_server", "open_archive", "split_address"]

_LEVELS = ("study_instance_uid", "series_instance_uid", "sop_instance_uid")
_DICOM_PORT = 104


def is_server(address: str) -> bool:
    """Tell whether an address names a server and not a folder."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", address) is not None


def open_archive(address: str, access: Access = NO_ACCESS) -> Archive:
    """Give the archive at an address; nothing is asked of it yet.

    Parameters
    ----------
    address : str
        Without a ``#`` part (`split_address` takes that off), and without a password.
    access : Access
        Passed over for a folder.

    Raises
    ------
    ArchiveError
        The address has another form, or cannot go with the access.
    """
    scheme = urlsplit(address).scheme.lower() if is_server(address) else ""
    if scheme in ("http", "https"):
        from radedit_dicom.web import WebArchive
        from radedit_dicom.web_session import WebAddress

        return WebArchive(WebAddress(address, access))
    if scheme == "dimse":
        return _open_dimse(address, access)
    if scheme:
        raise ArchiveError(
            "The archive's address begins with an unknown scheme; give a folder, "
            "http(s)://HOST:PORT/dicom-web or dimse://CALLED_AET@HOST:PORT."
        )
    from radedit_dicom.folder import FolderArchive

    return FolderArchive(Path(address).expanduser())


def split_address(address: str) -> tuple[str, Query]:
    """Split ``ADDRESS#StudyUID[/SeriesUID[/SOPInstanceUID]]``.

    Parameters
    ----------
    address : str
        A folder's path is never split: ``#`` is an ordinary character there.

    Returns
    -------
    address : str
        For `open_archive`.
    query : Query
        For those UIDs; for everything when there is no ``#`` part.

    Raises
    ------
    ArchiveError
        What follows ``#`` are not one to three UIDs.
    """
    if not is_server(address):
        return address, Query()
    place, mark, named = address.partition("#")
    if not mark or not named:
        return place, Query()
    uids = named.strip("/").split("/")
    if len(uids) > len(_LEVELS):
        raise ArchiveError("Give at most #StudyUID/SeriesUID/SOPInstanceUID behind an address.")
    pairs = zip(_LEVELS, uids, strict=False)
    return place, Query(**{level: checked_uid(uid) for level, uid in pairs})


def _open_dimse(address: str, access: Access) -> Archive:
    from radedit_dicom.dimse import DimseArchive
    from radedit_dicom.dimse_address import DimseAddress, DimseTimeouts, DimseTls

    parts = urlsplit(address)
    try:
        port = parts.port or _DICOM_PORT
    except ValueError:
        port = 0
    if not parts.hostname or not parts.username or port == 0 or parts.password or parts.query:
        raise ArchiveError(
            "The archive's address is malformed; give dimse://CALLED_AET@HOST:PORT without a "
            "password."
        )
    if access.retrieve not in ("get", "move"):
        raise ArchiveError("RADEDIT_ARCHIVE_RETRIEVE must be get or move.")
    tls = None
    if access.ca_file is not None:
        key = access.client_key or access.client_cert
        tls = DimseTls(access.ca_file, access.client_cert, key)
    return DimseArchive(
        DimseAddress(
            host=parts.hostname,
            port=port,
            called_ae_title=unquote(parts.username),
            calling_ae_title=access.ae_title,
            retrieve="move" if access.retrieve == "move" else "get",
            move_port=access.move_port,
            tls=tls,
            timeouts=DimseTimeouts(response_s=access.timeout_s),
            retries=access.attempts - 1,
            strict=access.strict,
        )
    )
