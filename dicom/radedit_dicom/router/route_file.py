"""A route as it is written: one TOML file, read strictly into frozen settings."""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from radedit_dicom.access import Access
from radedit_dicom.dimse_address import DimseAddress
from radedit_dicom.errors import ArchiveError
from radedit_dicom.router.bounded_socket import Bounds
from radedit_dicom.router.errors import RouteError
from radedit_dicom.router.outbox import Patience
from radedit_dicom.router.planning import Completeness
from radedit_dicom.router.receiver import Receive, ReceiveTls
from radedit_dicom.router.route import Http, Jobs, Route
from radedit_dicom.router.rules import Action
from radedit_dicom.router.rules_file import read_rules
from radedit_dicom.router.sender import Destination, Line
from radedit_dicom.router.tables import Table

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
_LARGEST = 1 << 20  # bytes of a route's file


def read_route(path: Path, check: Callable[[Action], None] | None = None) -> Route:
    """Read a route's file.

    Parameters
    ----------
    path : pathlib.Path
        Paths in it are relative to its folder.
    check : callable, optional
        Looks closer at each action; raises when it could not be done.

    Raises
    ------
    RouteError
        It cannot be read, a key is unknown, or a value impossible. What `check` raises.
    """
    content = _content(path)
    route = _route(Table(_tree(content), "the top level"), path, content)
    for rule in route.rules:
        for action in rule.actions:
            if check is not None:
                check(action)
    return route


def spool_of(path: Path) -> Path:
    """Give the spool that a route's file names, whatever else in it is wrong.

    Raises
    ------
    RouteError
        It cannot be read, is no TOML, or names no spool.
    """
    top = Table(_tree(_content(path)), "the top level")
    spool = top.path("spool", path.parent)
    if spool is None:
        top.refuse("needs a 'spool', the folder where everything is kept")
    return spool


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            content = stream.read(_LARGEST + 1)
    except OSError as error:
        raise RouteError(
            f"The route's file cannot be read ({error.strerror}); give the path of a TOML file."
        ) from None
    if len(content) > _LARGEST:
        raise RouteError("The route's file is larger than a mebibyte; give a TOML file.")
    return content


def _tree(content: bytes) -> dict[str, Any]:
    try:
        return tomllib.loads(content.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RouteError(f"The route's file is not valid TOML: {error}.") from None


def _route(top: Table, path: Path, content: bytes) -> Route:
    spool, base = spool_of(path), path.parent
    top.text("spool")
    receive_table = top.table("receive")
    watch = receive_table.path("watch", base)
    receive = _receive(receive_table, base)
    destinations = {
        name: _destination(name, table, base) for name, table in _named(top.table("destinations"))
    }
    route = Route(
        spool=spool,
        receive=receive,
        report_to=_report_to(top.table("report_to"), receive.ae_title),
        watch=watch,
        http=_http(top.table("http"), base) if top.has("http") else None,
        completeness=_completeness(top.table("study")),
        jobs=_jobs(top.table("jobs")),
        destinations=destinations,
        rules=read_rules(top.tables("rules"), destinations),
        webhook=_webhook(top),
        keep_days=top.number("keep_days", 7.0),
        digest=hashlib.sha256(content).hexdigest(),
    )
    top.done()
    return route


def _receive(table: Table, base: Path) -> Receive:
    bounds = Bounds(
        associations=table.whole("associations", 16, 1, 200),
        object_bytes=table.whole("largest_mb", 512, 1, 4096) << 20,
        total_bytes=table.whole("at_once_mb", 2048, 1) << 20,
        pdu_s=table.number("pdu_s", 30, 0.1),
        object_s=table.number("object_s", 900, 1),
        idle_s=table.number("idle_s", 60, 0.1),
    )
    tls = None
    if table.has("tls"):
        inner = table.table("tls")
        files = [inner.path(name, base) for name in ("certificate", "key", "ca")]
        if any(file is None for file in files):
            inner.refuse("needs certificate, key and ca")
        inner.done()
        tls = ReceiveTls(*(file for file in files if file is not None))
    found = Receive(
        ae_title=_title(table, table.text("ae_title", "RADEDIT")),
        host=table.text("host", "127.0.0.1"),
        port=table.whole("port", 11112, 0, 65535),
        callers=tuple(_title(table, text) for text in table.texts("callers")),
        bounds=bounds,
        reserve_bytes=int(table.number("reserve_gb", 1.0) * 1e9),
        tls=tls,
    )
    if not found.callers:
        table.refuse("needs 'callers', the AE titles that may send to this node")
    table.done()
    return found


def _title(table: Table, text: str) -> str:
    if not re.fullmatch(r"(?! )[\x20-\x5B\x5D-\x7E]{1,16}(?<! )", text):
        table.refuse("has an AE title that is not 1 to 16 characters of ASCII without backslash")
    return text


def _report_to(table: Table, ours: str) -> dict[str, DimseAddress]:
    found = {}
    for title in table.keys():  # noqa: SIM118
        host, _, port = table.text(title).rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) < 65536:
            table.refuse(f"needs HOST:PORT for '{title}'")
        found[_title(table, title)] = DimseAddress(host, int(port), title, ours, retries=0)
    return found


def _http(table: Table, base: Path) -> Http:
    found = Http(
        table.text("host", "127.0.0.1"),
        table.whole("port", 8090, 0, 65535),
        table.path("token_file", base),
    )
    if found.host not in ("127.0.0.1", "::1", "localhost") and found.token_file is None:
        table.refuse("listens for other machines, so it needs a 'token_file'")
    table.done()
    return found


def _completeness(table: Table) -> Completeness:
    found = Completeness(table.number("quiet_s", 120), table.number("limit_s", 3600))
    if found.limit_s < found.quiet_s:
        table.refuse("has a 'limit_s' below 'quiet_s'")
    table.done()
    return found


def _jobs(table: Table) -> Jobs:
    found = Jobs(
        table.whole("workers", 1, 0, 64),
        table.number("time_limit_s", 900, 1),
        table.number("stress_limit_h", 12, 0.001) * 3600,
        _patience(table, Patience(refusals=4), "attempts"),
    )
    table.done()
    return found


def _patience(table: Table, default: Patience, count: str) -> Patience:
    return Patience(
        refusals=table.whole(count, default.refusals, 1, 1000),
        give_up_s=table.number("give_up_h", default.give_up_s / 3600) * 3600,
        first_s=table.number("first_wait_s", default.first_s, 0.01),
        longest_s=table.number("longest_wait_s", default.longest_s, 0.01),
    )


def _named(table: Table) -> list[tuple[str, Table]]:
    found = []
    for name in table.keys():  # noqa: SIM118
        if not _NAME.fullmatch(name):
            table.refuse(f"has the name '{name}'; names are of a-z, 0-9, '-' and '_'")
        found.append((name, table.table(name)))
    return found


def _destination(name: str, table: Table, base: Path) -> Destination:
    table.where = f"destinations.{name}"
    address = table.text("address")
    if "://" not in address:
        address = str((base / Path(address).expanduser()).resolve())
    verify = table.text("verify", "readback")
    if verify not in ("readback", "commitment"):
        table.refuse("needs a 'verify' of readback or commitment")
    found = Destination(
        name=name,
        address=address,
        access=_access(table, base),
        verify="commitment" if verify == "commitment" else "readback",
        concurrency=table.whole("concurrency", 1, 1, 16),
        patience=_patience(table, Patience(), "refusals"),
        look_again_s=table.number("look_again_h", 0) * 3600,
    )
    table.done()
    if found.look_again_s and "://" not in found.address:
        table.refuse("is a folder, which others may empty; take 'look_again_h' out")
    try:
        Line(found)
    except ArchiveError as error:
        table.refuse(f"is not usable: {error}")
    return found


def _access(table: Table, base: Path) -> Access:
    """Read how to be let in; passwords and tokens are in files, never in this one."""
    given: dict[str, str] = {"RADEDIT_ARCHIVE_ATTEMPTS": "3"}
    inner = table.table("access")
    for key, value in inner.rest().items():
        if key in ("password", "token"):
            inner.refuse(f"must not hold a {key}; name a file with {key}_file")
        is_path = key.endswith("_file") or key in ("client_cert", "client_key")
        text = str((base / Path(str(value)).expanduser()).resolve()) if is_path else str(value)
        given[f"RADEDIT_ARCHIVE_{key.upper()}"] = text
    try:
        return Access.from_environment(given)
    except ArchiveError as error:
        table.refuse(f"has an 'access' that is not usable: {error}")


def _webhook(top: Table) -> str:
    text = top.text("webhook", "")
    if text and not re.match(r"https?://", text):
        top.refuse("needs an http(s) address for 'webhook'")
    return text


def changed(path: Path, digest: str) -> bool:
    """Tell whether a file has another content than the one with this hash.

    Raises
    ------
    RouteError
        It cannot be read.
    """
    return hashlib.sha256(_content(path)).hexdigest() != digest


def secret(path: Path | None) -> str:
    """Read a token; "" where no file is named.

    Raises
    ------
    RouteError
        The file cannot be read, or is empty.
    """
    if path is None:
        return ""
    text = _content(path).decode("utf-8", "replace").strip()
    if not text:
        raise RouteError("The token file is empty; put a token into it.")
    return text
