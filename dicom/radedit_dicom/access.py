"""How to be let in to an archive: passwords, tokens, certificates, AE titles.

They come from the environment (`RADEDIT_ARCHIVE_*`) and from files that it names, never from
an address, which people copy into mails and logs. Passwords and tokens in files are read again for
each request, since issuers renew them while a server runs.
"""

from __future__ import annotations

import os
from base64 import b64encode
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from radedit_dicom.errors import ArchiveError

PREFIX = "RADEDIT_ARCHIVE_"
_SECRETS = ("password", "token")
_PATHS = ("password_file", "token_file", "ca_file", "client_cert", "client_key")
_SWITCH = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
_NUMBERS = ("move_port", "attempts", "timeout_s")


@dataclass(frozen=True)
class Access:
    """What an archive wants to see, and how patient we are with it.

    `repr` shows no secret, so that it may be logged.

    Attributes
    ----------
    username, password : str
        For HTTP basic authentication; both or none.
    token : str
        For HTTP bearer authentication; not beside a password.
    password_file, token_file : pathlib.Path or None
        Hold the password or the token alone, less white space at the ends; they win over those.
    ca_file : pathlib.Path or None
        PEM certificates of the authorities to trust. None: the system's for https, and no TLS
        for dimse.
    client_cert, client_key : pathlib.Path or None
        Our own PEM certificate and its key; None for the key: it is in the same file.
    ae_title : str
        Our application entity title (DIMSE).
    retrieve : str
        "get" or "move" (DIMSE).
    move_port : int or None
        Where we listen for C-MOVE results and storage commitment (DIMSE).
    attempts : int
        How often a request is made before giving up, at least 1.
    timeout_s : float
        Seconds to wait for the next piece of an answer, above 0.
    strict : bool
        True: an archive that keeps another patient's name or study description than it was sent,
        say, has not stored the object.
    """

    username: str = ""
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    password_file: Path | None = None
    token_file: Path | None = None
    ca_file: Path | None = None
    client_cert: Path | None = None
    client_key: Path | None = None
    ae_title: str = "RADEDIT"
    retrieve: str = "get"
    move_port: int | None = None
    attempts: int = 5
    timeout_s: float = 60.0
    strict: bool = False

    def __post_init__(self) -> None:
        """Refuse what contradicts itself.

        Raises
        ------
        ArchiveError
            Half a password, two ways to authenticate, a file that is not there or cannot be read,
            a number out of range.
        """
        for name in _SECRETS:
            file = getattr(self, f"{name}_file")
            if file is not None:
                object.__setattr__(self, name, _secret(name, file))
        if bool(self.username) != bool(self.password):
            raise ArchiveError(
                "The archive's user name and password belong together; give both or none."
            )
        if self.token and self.password:
            raise ArchiveError("Give the archive either a password or a token, not both.")
        if any(not text.isprintable() for text in (self.username, self.password, self.token)):
            raise ArchiveError(
                "The archive's user name, password or token holds a line break or another control "
                "character; give it as one line."
            )
        if self.client_key is not None and self.client_cert is None:
            raise ArchiveError("A key without its certificate is of no use; give client_cert too.")
        for name in _PATHS:
            path = getattr(self, name)
            if path is not None and not path.is_file():
                raise ArchiveError(f"The archive's {name} is no file; give the path of a PEM file.")
        if self.attempts < 1 or not self.timeout_s > 0:
            raise ArchiveError("The archive needs at least 1 attempt and a timeout above 0 s.")

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> Access:
        """Read `RADEDIT_ARCHIVE_USERNAME`, `..._PASSWORD_FILE`, `..._CA_FILE` and so on.

        Each attribute has a variable of its name in capitals.

        Parameters
        ----------
        environ : mapping, optional
            Default: `os.environ`.

        Raises
        ------
        ArchiveError
            An unknown variable with this prefix, a file that cannot be read, a number that is
            none, or as in the class. No value is quoted.
        """
        given = {
            name.removeprefix(PREFIX).lower(): text
            for name, text in (os.environ if environ is None else environ).items()
            if name.startswith(PREFIX) and text
        }
        for name in _SECRETS:
            if name in given and f"{name}_file" in given:
                raise ArchiveError(
                    f"{PREFIX}{name.upper()} and {PREFIX}{name.upper()}_FILE are both set; "
                    "set one of them."
                )
        unknown = sorted(set(given) - {f.name for f in fields(cls)})
        if unknown:
            known = ", ".join(PREFIX + f.name.upper() for f in fields(cls))
            raise ArchiveError(f"{PREFIX}{unknown[0].upper()} is not known; known are {known}.")
        return cls(**{name: _converted(name, text) for name, text in given.items()})


class Authorization:
    """The HTTP header that lets us in, with the password or token that its file holds now.

    Parameters
    ----------
    access : Access
    """

    def __init__(self, access: Access) -> None:
        self._username = access.username
        self._secret = access.token or access.password
        self._file = access.token_file or access.password_file

    def header(self) -> str | None:
        """Give the value of `Authorization`; None: nothing is to be shown.

        A file that is away or empty, as while it is being written, holds what it held before.
        """
        with suppress(OSError, UnicodeDecodeError):
            text = self._file.read_text(encoding="utf-8").strip() if self._file else ""
            self._secret = text if text and text.isprintable() else self._secret
        if self._username:
            pair = f"{self._username}:{self._secret}"
            return f"Basic {b64encode(pair.encode()).decode()}"
        return f"Bearer {self._secret}" if self._secret else None


#: Nobody in particular, and the system's authorities.
NO_ACCESS = Access()


def _secret(name: str, path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise ArchiveError(
            f"The file that {PREFIX}{name.upper()}_FILE names cannot be read ({reason}); give a "
            f"file that holds the {name} alone."
        ) from None


def _converted(name: str, text: str) -> Any:
    if name in _PATHS:
        return Path(text).expanduser()
    if name == "strict":
        if text.lower() not in _SWITCH:
            raise ArchiveError(f"{PREFIX}STRICT is neither true nor false; give one of them.")
        return _SWITCH[text.lower()]
    if name not in _NUMBERS:
        return text
    try:
        return float(text) if name == "timeout_s" else int(text)
    except ValueError:
        raise ArchiveError(f"{PREFIX}{name.upper()} is no number; give one.") from None
