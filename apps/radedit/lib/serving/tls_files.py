"""Certificates that are renewed in their files while the server runs."""

from __future__ import annotations

import ssl
from contextlib import suppress
from pathlib import Path


class TlsFiles:
    """Loads PEM files into a context again, whenever they have changed.

    Connections that are open stay as they are. An authority that was trusted once stays so until
    the server ends.

    Parameters
    ----------
    context : of every connection
    ca : authorities to trust
    certificate, key : who we are; None for the key: it is in the same file
    """

    def __init__(
        self, context: ssl.SSLContext, ca: Path | None, certificate: Path | None, key: Path | None
    ) -> None:
        self.context = context
        self._ca, self._certificate, self._key = ca, certificate, key
        self._stamps = self._stamped()

    def load(self) -> None:
        """Load them for the first time.

        Raises
        ------
        OSError
            A file cannot be read, or holds something else.
        """
        self._load(self.context)

    def renew(self) -> None:
        """Load files that have changed; those that are half written wait for the next time."""
        stamps = self._stamped()
        if stamps == self._stamps:
            return
        with suppress(OSError):  # an SSLError is one, too
            # Tried first: a certificate whose key does not fit yet would leave us without one.
            self._load(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
            self._load(self.context)
            self._stamps = stamps

    def _load(self, context: ssl.SSLContext) -> None:
        if self._ca is not None:
            context.load_verify_locations(self._ca)
        if self._certificate is not None:
            context.load_cert_chain(self._certificate, self._key)

    def _stamped(self) -> list[tuple[int, int]]:
        with suppress(OSError):
            files = (self._ca, self._certificate, self._key)
            states = [file.stat() for file in files if file is not None]
            return [(state.st_mtime_ns, state.st_ino) for state in states]
        return []
