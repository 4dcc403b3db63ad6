"""What the answers of a DIMSE archive mean, as sentences that say what to do.

The codes are those of PS3.7 Annex C, PS3.4 tables B.2-1, C.4-1 to C.4-3 and J.3-2, and of
PS3.8 table 9-21 for refused associations.
"""

from __future__ import annotations

from pydicom.uid import UID

#: (source, diagnostic) of an A-ASSOCIATE-RJ.
_REJECTIONS = {
    (1, 1): "gave no reason for refusing the association; ask its administrator to look in its log",
    (1, 2): "does not support the DICOM application context; check that it is a DICOM archive",
    (1, 3): "does not know our AE title {calling}; have it added there, or call under one it knows",
    (1, 7): "does not answer to the AE title {called}; correct the called AE title",
    (2, 1): "refused the association without a reason; ask its administrator to look in its log",
    (2, 2): "does not support this protocol version; check that it is a DICOM archive",
    (3, 1): "is congested; try again later",
    (3, 2): "has reached its limit of associations; try again later",
}

#: Ranges of C-STORE failures, first and last code.
_STORE = {
    (0x0110, 0x0110): "could not process it; look in the archive's log",
    (0x0111, 0x0111): "already holds an object under this UID, which must be unique",
    (0x0122, 0x0122): "does not support its SOP class; have it allowed there",
    (0x0124, 0x0124): "does not let us store; have our AE title allowed to",
    (0x0213, 0x0213): "is out of resources; free space on its disk, then store again",
    (0xA700, 0xA7FF): "is out of resources; free space on its disk, then store again",
    (0xA900, 0xA9FF): "finds that it does not match its SOP class; check the object",
    (0xC111, 0xC111): "already holds another object under this UID, which must be unique",
    (0xC000, 0xCFFF): "cannot understand it; check the object and look in the archive's log",
}

_QUERY = {
    (0x0122, 0x0122): "does not support queries of the study root; use another archive",
    (0x0124, 0x0124): "does not let us query; have our AE title allowed to",
    (0xA700, 0xA7FF): "is out of resources; try again later, or ask for less",
    (0xA900, 0xA9FF): "does not accept the keys of the query; ask by study and series",
    (0xC000, 0xCFFF): "cannot process the query; look in its log",
    (0xFE00, 0xFE00): "cancelled the query; try again",
}

_RETRIEVE = {
    (0x0122, 0x0122): "does not support this way to retrieve; use the other one, get or move",
    (0x0124, 0x0124): "does not let us retrieve; have our AE title allowed to",
    (0xA701, 0xA702): "is out of resources; try again later",
    (0xA801, 0xA801): "does not know our AE title as a move destination; have it added there with "
    "our host and move port",
    (0xA900, 0xA900): "does not accept the keys of the request; look for the UIDs it holds",
    (0xB000, 0xB000): "could not send it; check that it can reach us and look in its log",
    (0xC000, 0xCFFF): "cannot process the request; look in its log",
    (0xFE00, 0xFE00): "cancelled the request; try again",
}

#: PS3.3 C.14.1.1, Failure Reason of a storage commitment.
_COMMITMENT = {
    0x0110: "could not process it",
    0x0112: "does not hold it",
    0x0119: "holds it under another SOP class",
    0x0122: "does not support its SOP class",
    0x0131: "has seen this transaction before",
    0x0213: "is out of resources",
}


def rejection(source: int, diagnostic: int, *, called: str, calling: str) -> str:
    """Say why an association was refused, to stand behind "The archive".

    Parameters
    ----------
    source, diagnostic : int
        Of the A-ASSOCIATE-RJ.
    called, calling : str
        AE titles.

    Returns
    -------
    str
    """
    words = _REJECTIONS.get((source, diagnostic), _REJECTIONS[1, 1])
    return words.format(called=called, calling=calling)


def store_failure(status: int) -> str:
    """Say why an object was refused, to stand behind "The archive"."""
    return _look_up(_STORE, status)


def query_failure(status: int) -> str:
    """Say why a query failed, to stand behind "The archive"."""
    return _look_up(_QUERY, status)


def retrieve_failure(status: int) -> str:
    """Say why a retrieval failed, to stand behind "The archive"."""
    return _look_up(_RETRIEVE, status)


def commitment_failure(reason: int) -> str:
    """Say why an object was not committed, to stand behind "The archive"."""
    words = _COMMITMENT.get(reason, "gave a reason that the standard does not list")
    return f"{words} (0x{reason:04X})"


def class_name(uid: str) -> str:
    """Name a SOP class or transfer syntax as the standard does; unknown ones by their UID."""
    return str(UID(uid).name)


def _look_up(table: dict[tuple[int, int], str], status: int) -> str:
    for (first, last), words in table.items():
        if first <= status <= last:
            return f"{words} (status 0x{status:04X})"
    return f"answered with status 0x{status:04X}; look in its log"
