"""Settings for masks from other servers: which of them may be called, how long, how much."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

from radedit.lib.errors import MaskError, ParameterError

PREFIX: Final = "remote_"  # of the keys in the settings: remote_servers, ...
TASK_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
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


@dataclass(frozen=True)
class RemoteTask:
    """A task of another server: the server's address as the settings list it, and its name."""

    server: str
    name: str


def addressed(text: str, access: RemoteAccess) -> tuple[RemoteTask, str]:
    """Split "URL/NAME[:LABEL]" into a task of a server that may be called, and a label.

    Returns
    -------
    the task, and the label ("" = all of its labels together)

    Raises
    ------
    MaskError
        The server is not listed, or the name of the task is missing or malformed.
    """
    listed = [server for server in access.servers if text.startswith(f"{server}/")]
    if not listed:
        raise MaskError(
            "remote: names a server that the setting remote_servers does not list; have its "
            "address added there, or use a server that is listed."
        )
    server = max(listed, key=len)
    name, _, label = text.removeprefix(f"{server}/").partition(":")
    if not TASK_NAME.fullmatch(name):
        raise MaskError("remote: names no task of the server; write remote:URL/NAME[:LABEL].")
    return RemoteTask(server, name), label
