"""The one grammar of UIDs, at every door."""

from __future__ import annotations

import re

#: Looser than PS3.5 9.1, since archives hold objects whose UIDs have leading zeros; but no part
#: between dots is empty: "." and ".." are names of folders.
UID_PATTERN = r"[0-9]+(?:\.[0-9]+)*"
UID_LENGTH = 64
_UID = re.compile(UID_PATTERN)


def is_uid(text: object) -> bool:
    """Tell whether a text is a UID: numbers with dots between, of 64 characters at most."""
    return len(str(text)) <= UID_LENGTH and _UID.fullmatch(str(text)) is not None
