"""Tokens are not guessed from the network: whoever sent wrong ones has to wait."""

from __future__ import annotations

import hashlib
import ipaddress
import time
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from starlette.types import Scope

from radedit.lib.serving.access import Keeper, user_of
from radedit.lib.serving.messages import RefusedError
from radedit.lib.serving.roles import User

WRONG: Final = 20  # different tokens of one address within `WITHIN_S`
WITHIN_S: Final = 60.0
_MOST: Final = 10_000  # addresses and tokens that are thought of at once
TOO_MANY: Final = RefusedError(
    429, f"Too many wrong tokens came from this address; try again in {WITHIN_S:.0f} s."
)


class Attempts:
    """Asks who holds a token, but not for an address that has sent too many wrong ones.

    A token that was right lately is asked about all the same: nobody is locked out by others
    behind the same proxy. One that is sent again and again, as by a page whose sign-in has run
    out, is no guess and counts once.

    Parameters
    ----------
    keepers : who knows tokens
    """

    def __init__(self, keepers: Sequence[Keeper]) -> None:
        self._keepers = keepers
        self._wrong: OrderedDict[str, dict[bytes, float]] = OrderedDict()
        self._right: OrderedDict[bytes, None] = OrderedDict()

    async def user(self, scope: Scope, token: str) -> User | None:
        """Say who holds a token; None = nobody that is known here.

        Raises
        ------
        RefusedError
            Too many wrong ones came from the address.
        """
        if not token:
            return None
        place, digest = _address(scope), hashlib.sha256(token.encode("utf-8", "replace")).digest()
        since = time.monotonic() - WITHIN_S
        held = self._wrong.get(place, {})
        wrong = {sent: at for sent, at in held.items() if at > since}
        if len(wrong) >= WRONG and digest not in wrong and digest not in self._right:
            raise TOO_MANY
        user = await user_of(token, self._keepers)
        if user is None:
            self._right.pop(digest, None)
            self._wrong[place] = {digest: time.monotonic(), **wrong}
            self._wrong.move_to_end(place)
        else:
            self._right[digest] = None
            self._right.move_to_end(digest)
        for known in (self._wrong, self._right):
            while len(known) > _MOST:
                known.popitem(last=False)
        return user


def _address(scope: Scope) -> str:
    """Give whom a client counts as: its address, of IPv6 the network that is one household's."""
    host = str((scope.get("client") or ("",))[0])
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if address.version == 4:
        return host
    return str(ipaddress.ip_network((address, 64), strict=False))
