"""Removing an object over HTTP, where the archive allows it.

DICOMweb's DELETE is not offered by every archive. Orthanc 1.10 answers it with 405, but has a
REST API of its own beside DICOMweb that removes; any other archive that refuses is believed.
"""

from __future__ import annotations

import re

import requests

from radedit_dicom.archive import Instance
from radedit_dicom.errors import ArchiveError
from radedit_dicom.web_errors import RefusalError
from radedit_dicom.web_session import WebSession, resource

_ANY = {"Accept": "*/*"}  # Orthanc answers 400, not 405, to who wants DICOM JSON only
_GONE = (404, 410)
_NOT_OFFERED = (405, 501)
_ORTHANC_ID = re.compile(r"[0-9a-f-]{44}")


def remove(session: WebSession, instance: Instance) -> None:
    """Remove one instance; what is not there is no error.

    Raises
    ------
    ArchiveError
        The archive does not allow it, or cannot be reached.
    """
    try:
        session.delete(f"{session.address.url}/{resource(instance)}", headers=_ANY)
    except RefusalError as refusal:
        if refusal.status in _GONE:
            return
        if refusal.status not in _NOT_OFFERED:
            raise
        _remove_from_orthanc(session, instance.sop_instance_uid)


def _remove_from_orthanc(session: WebSession, uid: str) -> None:
    """Remove by Orthanc's own REST API, one level above its DICOMweb."""
    above = session.address.url.rpartition("/")[0]
    try:
        answer = session.post(f"{above}/tools/lookup", data=uid.encode("ascii"), headers=_ANY)
        rows = answer.json()
        found = [str(row["ID"]) for row in rows if row["Type"] == "Instance"]
    except (RefusalError, requests.JSONDecodeError, KeyError, TypeError):
        raise _not_allowed() from None
    if not isinstance(rows, list) or not all(map(_ORTHANC_ID.fullmatch, found)):
        raise _not_allowed()
    if len(found) > 1:
        raise ArchiveError(
            f"The archive holds {len(found)} objects under the UID {uid}, which must be unique; "
            "remove the right one there."
        )
    for name in found:
        try:
            session.delete(f"{above}/instances/{name}", headers=_ANY)
        except RefusalError as refusal:
            if refusal.status not in _GONE:
                raise


def _not_allowed() -> ArchiveError:
    return ArchiveError(
        "The archive does not allow removing objects over DICOMweb; remove them by its own means."
    )
