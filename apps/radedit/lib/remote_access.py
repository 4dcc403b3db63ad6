"""Settings for masks from other servers: which of them may be called, how long, how much."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

from radedit.lib.errors import ParameterError

PREFIX: Final = "remote_"  # of the keys in the settings: remote_servers, ...
_SERVER: Final = re.compile(r"https?://[A-Za-z0-9.:\[\]-]+(/[A-Za-z0-9._~-]+)*")


@dataclass(frozen=True)
class RemoteAccess:
    """Which other servers may be asked for masks (`remote:` in the mask grammar), and how.

    Attributes
    ----------
    servers : tuple of str
        Addresses of MONAI Label servers without a slash at the end; no other is ever called.
    timeout_s : int
        Seconds for one mask, from the first byte sent to the last one received.
    max_mb : int
        The largest answer that is read, in MiB.
    """

    servers: tuple[str, ...] = ()
    timeout_s: int = 120
    max_mb: int = 64


def remote_access(tree: Mapping[str, Any]) -> RemoteAccess:
    """Take the settings for other servers out of the tree of all settings.

    Raises
    ------
    ParameterError
        An address has another form than http(s)://HOST[:PORT][/PATH], or a limit is below 1.
    """
    names = [f.name for f in fields(RemoteAccess) if PREFIX + f.name in tree]
    given = {name: tree[PREFIX + name] for name in names}
    servers = [str(server).rstrip("/") for server in given.pop("servers", ())]
    if not all(_SERVER.fullmatch(server) for server in servers):
        raise ParameterError(
            "remote_servers holds what is no address of a server; expected http(s)://HOST:PORT "
            "without user, password or query."
        )
    access = RemoteAccess(servers=tuple(servers), **given)
    if min(access.timeout_s, access.max_mb) < 1:
        raise ParameterError("remote_timeout_s and remote_max_mb must be 1 or more.")
    return access
