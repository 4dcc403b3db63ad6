"""What a server is told when it starts, checked before anything listens."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final

from radedit.lib.errors import ParameterError
from radedit.lib.serving.roles import Role, User

MIN_TOKEN: Final = 16  # characters; a token is guessed from the network, as often as one likes
MB: Final = 2**20
_TOKEN: Final = re.compile(r"[\x21-\x7e]+")  # what an Authorization header and a cookie can carry
_OURS: Final = "radedit-"
#: What an issuer calls the roles.
ROLES: Final[Mapping[Role, str]] = MappingProxyType(
    {role: f"{_OURS}{role.name.lower()}" for role in Role}
)
_NOT_IN_COOKIES: Final = set('",;\\')


@dataclass(frozen=True)
class Limits:
    """How much one client may ask for.

    Attributes
    ----------
    body_bytes : the largest request body of any route; films come in by these
    job_bytes : the largest request for a job, its masks in base64 included
    masks, mask_bytes : how many masks come with a job, and the largest PNG file of one
    inferences : how many of MONAI Label's inferences run at once; others wait
    """

    body_bytes: int = 256 * MB
    job_bytes: int = 24 * MB
    masks: int = 8
    mask_bytes: int = 8 * MB
    inferences: int = 1


@dataclass(frozen=True)
class Oidc:
    """Whose signed tokens are let in (OpenID Connect).

    Attributes
    ----------
    issuer : the address that tokens name as `iss`
    audience : what tokens must name as `aud`: this server
    jwks : address of the issuer's public keys; "" = as the issuer's own configuration says
    user_claim : the claim that names the user, to whom jobs and decisions are put down
    role_claim : the claim that names their roles, of which one of `ROLES` is needed; "" = all
        are editors
    """

    issuer: str
    audience: str
    jwks: str = ""
    user_claim: str = "sub"
    role_claim: str = ""


@dataclass(frozen=True)
class ServerConfig:
    """Everything a server is told.

    Attributes
    ----------
    studies : a folder of films, or the address of an archive
    conf : MONAI Label's `--conf` pairs; see `radedit.lib.app.RadEditApp`
    host, port : where it listens; 0 = any free port
    token : who knows it is let in; "" = there is none
    tokens : secrets of single users, with who holds each
    root_path : where a reverse proxy offers the server; "" = at its root
    oidc : whose signed tokens are let in; None = nobody's
    certificate, key : PEM files, both or none; with them it speaks https
    blinded_first : readers of the review page say which film is edited before they are told
    """

    studies: str
    conf: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({"models": "all"}))
    host: str = "127.0.0.1"
    port: int = 8000
    token: str = field(default="", repr=False)
    oidc: Oidc | None = None
    limits: Limits = field(default_factory=Limits)
    certificate: Path | None = None
    key: Path | None = None
    blinded_first: bool = False
    tokens: tuple[tuple[str, User], ...] = field(default=(), repr=False)
    root_path: str = ""

    def __post_init__(self) -> None:
        """Refuse what would leave the door open.

        Raises
        ------
        ParameterError
            The token is too short or cannot be sent, or there is none and others than this
            machine could connect; a certificate without its key, or a file that is not there.
        """
        if (self.certificate is None) != (self.key is None):
            raise ParameterError("--certificate and --key belong together; give both or none.")
        for path in (self.certificate, self.key):
            if path is not None and not path.is_file():
                raise ParameterError("The certificate or its key is no file; give a PEM file.")
        for token in (self.token, *(secret for secret, _ in self.tokens)):
            if token:
                _check_token(token)
        if not self.is_guarded and not is_loopback(self.host):
            raise ParameterError(
                f"{self.host} can be reached by other machines and no token is set; give "
                "--token-file or RADEDIT_SERVER_TOKEN, or listen at 127.0.0.1."
            )

    @property
    def is_guarded(self) -> bool:
        """Whether a request must say who it comes from."""
        return bool(self.token or self.tokens) or self.oidc is not None


def config_from(
    environ: Mapping[str, str], token_file: Path | None = None
) -> tuple[str, Oidc | None]:
    """Read the token and the sign-on from the environment.

    Parameters
    ----------
    environ : `RADEDIT_SERVER_TOKEN`; `RADEDIT_OIDC_ISSUER`, `..._AUDIENCE`, `..._JWKS`,
        `..._USER_CLAIM`, `..._ROLE_CLAIM`
    token_file : holds the token alone; wins over the variable

    Returns
    -------
    token, "" for none; sign-on, None for none

    Raises
    ------
    ParameterError
        The file cannot be read, a variable is unknown, or the sign-on is named in half.
    """
    oidc = {name: f"RADEDIT_OIDC_{name.upper()}" for name in Oidc.__dataclass_fields__}
    known = {"RADEDIT_SERVER_TOKEN", *oidc.values()}
    for name in environ:
        ours = name.startswith(("RADEDIT_SERVER_", "RADEDIT_OIDC_"))
        if ours and name not in known:
            raise ParameterError(
                f"'{name}' in the environment is not known; known are {', '.join(sorted(known))}."
            )
    token = _read_token(token_file) if token_file else environ.get("RADEDIT_SERVER_TOKEN", "")
    given = {name: environ[key] for name, key in oidc.items() if environ.get(key)}
    if given and not {"issuer", "audience"} <= given.keys():
        raise ParameterError("RADEDIT_OIDC_ISSUER and RADEDIT_OIDC_AUDIENCE belong together.")
    return token, Oidc(**given) if given else None


def read_tokens(path: Path) -> tuple[tuple[str, User], ...]:
    """Read a file of single users' tokens: ROLE NAME TOKEN on each line, # begins a comment.

    Raises
    ------
    ParameterError
        The file cannot be read, or a line is something else; says which.
    """
    names = {name.removeprefix(_OURS): role for role, name in ROLES.items()}
    found: dict[str, User] = {}
    for number, line in enumerate(_read_token(path).splitlines(), start=1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        if len(words) != 3 or words[0] not in names:
            raise ParameterError(
                f"Line {number} of the file of tokens is not ROLE NAME TOKEN with a role of "
                f"{', '.join(names)}; mend it."
            )
        role, name, token = words
        if token in found or name in {user.name for user in found.values()}:
            raise ParameterError(
                f"Line {number} of the file of tokens has a name or a token of another line; "
                "give each user one of their own."
            )
        found[token] = User(name, names[role])
    if not found:
        raise ParameterError("The file of tokens is empty; write ROLE NAME TOKEN for each user.")
    return tuple(found.items())


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can connect to an address."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def _read_token(path: Path) -> str:
    try:
        return path.expanduser().read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise ParameterError(
            f"The token file cannot be read ({reason}); give a file that holds the token alone."
        ) from None


def _check_token(token: str) -> None:
    if len(token) < MIN_TOKEN:
        raise ParameterError(
            f"The server's token has {len(token)} characters; use {MIN_TOKEN} or more, drawn at "
            "random."
        )
    if not _TOKEN.fullmatch(token) or _NOT_IN_COOKIES & set(token):
        raise ParameterError(
            "The server's token holds a blank or a character that cannot be sent; use letters, "
            "digits, '-' and '_'."
        )
