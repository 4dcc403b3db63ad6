"""Where a DIMSE archive is, and how it wants to be spoken to."""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from radedit_dicom.errors import ArchiveError

_AE_TITLE = re.compile(r"(?! )[\x20-\x5B\x5D-\x7E]{1,16}(?<! )")


@dataclass(frozen=True)
class DimseTimeouts:
    """How long to wait for what, in seconds, all above 0.

    Attributes
    ----------
    connect_s : float
        For the TCP connection, TLS included.
    associate_s : float
        For the answer to an association request or release.
    response_s : float
        For the next message of an operation, counted anew from each message.
    commit_s : float
        For the report behind a storage commitment request.
    """

    connect_s: float = 10.0
    associate_s: float = 30.0
    response_s: float = 60.0
    commit_s: float = 60.0


@dataclass(frozen=True)
class DimseTls:
    """Who is trusted, and who we are.

    Attributes
    ----------
    ca_file : pathlib.Path
        PEM certificates of the authorities that may vouch for the archive.
    certificate_file, key_file : pathlib.Path or None
        Our own PEM certificate and its key, for archives that ask who is calling; required
        where the archive calls us (C-MOVE, storage commitment on another association).
    server_name : str or None
        The name in the archive's certificate, where it is not the host's.
    """

    ca_file: Path
    certificate_file: Path | None = None
    key_file: Path | None = None
    server_name: str | None = None

    def client(self) -> ssl.SSLContext:
        """Make the context for calling the archive: TLS 1.2 or later, certificate and name checked.

        Raises
        ------
        ArchiveError
            A file cannot be read or holds no certificate or key.
        """
        return self._context(ssl.Purpose.SERVER_AUTH)

    def server(self) -> ssl.SSLContext:
        """Make the context for being called: the caller must show a certificate we trust.

        Raises
        ------
        ArchiveError
            As `client`.
        """
        context = self._context(ssl.Purpose.CLIENT_AUTH)
        context.verify_mode = ssl.CERT_REQUIRED
        return context

    def _context(self, purpose: ssl.Purpose) -> ssl.SSLContext:
        try:
            context = ssl.create_default_context(purpose, cafile=self.ca_file)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            if self.certificate_file is not None:
                context.load_cert_chain(self.certificate_file, self.key_file)
        except OSError as error:  # an SSLError is one, too
            raise ArchiveError(
                f"The TLS files for the archive cannot be used ({error.strerror or error}); give "
                "a CA file, and a certificate with its key, in PEM form."
            ) from None
        return context


@dataclass(frozen=True)
class DimseAddress:
    """One archive that speaks DICOM's own network protocol (PS3.7, PS3.8).

    Attributes
    ----------
    host, port : str, int
        Where the archive listens.
    called_ae_title, calling_ae_title : str
        Its AE title and ours: 1 to 16 characters of ASCII, no backslash.
    retrieve : "get" or "move"
        "get": objects come back on the association that asks for them (C-GET). "move": the
        archive connects to us (C-MOVE), and must know our AE title with host and port.
    move_host, move_port : str, int or None
        Where we listen for what the archive sends by itself: objects asked for with C-MOVE, and
        reports of storage commitment. None: nowhere. Open only while something is awaited.
    tls : DimseTls or None
        None: plain TCP.
    strict : bool
        As in `Access`.
    timeouts : DimseTimeouts
    commitment : bool
        True: every `store` asks for storage commitment as well.
    retries : int
        How often a dropped or busy association is tried again, waiting `backoff_s` and twice
        as long each time after, less up to half of it by chance.
    backoff_s : float
    limit_bytes : int
        The largest object accepted from the archive.
    """

    host: str
    port: int
    called_ae_title: str
    calling_ae_title: str = "RADEDIT"
    retrieve: Literal["get", "move"] = "get"
    move_host: str = "127.0.0.1"
    move_port: int | None = None
    tls: DimseTls | None = None
    strict: bool = False
    timeouts: DimseTimeouts = DimseTimeouts()
    commitment: bool = False
    retries: int = 4
    backoff_s: float = 0.5
    limit_bytes: int = 1 << 29

    def __post_init__(self) -> None:
        """Refuse what could not work.

        Raises
        ------
        ArchiveError
            An AE title, a port or a combination of settings is impossible.
        """
        for title in (self.called_ae_title, self.calling_ae_title):
            if not _AE_TITLE.fullmatch(title):
                raise ArchiveError(
                    "An AE title must have 1 to 16 characters of ASCII, no backslash, and no space "
                    "at its ends; correct the address of the archive."
                )
        for port in (self.port, self.move_port):
            if port is not None and not 1 <= port <= 65535:
                raise ArchiveError(
                    f"{port} is no TCP port; give one from 1 to 65535 in the archive's address."
                )
        if self.retrieve not in ("get", "move"):
            raise ArchiveError("The way to retrieve is unknown; it must be get or move.")
        if self.retrieve == "move" and self.move_port is None:
            raise ArchiveError(
                "Retrieving by C-MOVE needs a port on which we listen; give move_port, and the "
                "same port to the archive beside our AE title."
            )
        if self.tls and self.move_port is not None and self.tls.certificate_file is None:
            raise ArchiveError(
                "An archive that calls us over TLS needs to see a certificate of ours; give "
                "certificate_file and key_file."
            )

    def __str__(self) -> str:
        """Name the archive as messages do."""
        return f"{self.called_ae_title} at {self.host}:{self.port}"
