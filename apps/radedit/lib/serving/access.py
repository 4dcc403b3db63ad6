"""Who is let in: a shared token, or tokens that an OpenID Connect issuer signed."""

from __future__ import annotations

import hashlib
import hmac
import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final, Protocol

import anyio
import anyio.to_thread
import jwt

from radedit.lib.serving.config import ROLES, Oidc, ServerConfig
from radedit.lib.serving.roles import Role, User
from radedit.lib.shared_call import SharedCall

ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "ES256", "ES384", "EdDSA")
KEYS_S: Final = 300.0  # how long an issuer's keys are believed
MISSED_S: Final = 10.0  # an unknown key asks the issuer anew at most this often
TIMEOUT_S: Final = 10
LEEWAY_S: Final = 30
_WAIT_S: Final = 2.0 * TIMEOUT_S + 1  # for the issuer's configuration and its keys
_WAITING: Final = 2  # threads in which somebody waits for the issuer
SHARED_USER: Final = "token"
logger = logging.getLogger(__name__)


class Keeper(Protocol):
    """Knows some tokens."""

    async def user(self, token: str) -> User | None:
        """Say who holds a token; None = nobody that is known here."""
        ...


class SharedToken:
    """One secret for everybody, or for whoever it is named after.

    Parameters
    ----------
    token : the secret; only its hash is kept
    user : who holds it
    """

    def __init__(self, token: str, user: User) -> None:
        self._digest, self._user = _digest(token), user

    async def user(self, token: str) -> User | None:
        """Compare in constant time."""
        return self._user if hmac.compare_digest(_digest(token), self._digest) else None


class Issuer:
    """Tokens that an OpenID Connect issuer signed for this server (OpenID Connect Core, 3.1.3.7).

    Parameters
    ----------
    oidc : the issuer, and what its tokens must say
    """

    def __init__(self, oidc: Oidc) -> None:
        self._oidc = oidc
        self._keys: dict[str, jwt.PyJWK] = {}
        self._asked_at = -KEYS_S
        self._asking = SharedCall(self._ask, fresh_s=MISSED_S, slow_s=TIMEOUT_S)
        self._waiting = anyio.CapacityLimiter(_WAITING)

    async def user(self, token: str) -> User | None:
        """Check signature, issuer, audience and times."""
        if token.count(".") != 2:
            return None
        try:
            header = jwt.get_unverified_header(token)
            key = await self._key(str(header.get("kid", "")))
            if key is None or header.get("alg") not in ALGORITHMS:
                return None
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=ALGORITHMS,
                audience=self._oidc.audience,
                issuer=self._oidc.issuer,
                leeway=LEEWAY_S,
                options={"require": ["exp", "iss", "aud"]},
            )
        except jwt.PyJWTError as error:
            logger.info("a signed token was refused: %s", type(error).__name__)
            return None
        user, role = claims.get(self._oidc.user_claim), self._role(claims)
        return User(user, role) if isinstance(user, str) and user and role else None

    def _role(self, claims: dict[str, Any]) -> Role | None:
        """Give the highest role that a token names; an editor, where no claim names roles."""
        if not self._oidc.role_claim:
            return Role.EDITOR
        said = claims.get(self._oidc.role_claim)
        names = [said] if isinstance(said, str) else said if isinstance(said, list) else []
        held = [role for role in Role if ROLES[role] in names]
        return max(held, default=None)

    async def _key(self, kid: str) -> jwt.PyJWK | None:
        """Find a key; the issuer is asked when keys grow old, or when one is not known.

        Known keys serve while it is asked, and only who shows another one waits for its answer;
        in few threads, which nothing else needs.
        """
        key, age = self._keys.get(kid), time.monotonic() - self._asked_at
        if key is None and age >= MISSED_S:
            with suppress(TimeoutError):
                await anyio.to_thread.run_sync(self._asking.value, _WAIT_S, limiter=self._waiting)
            return self._keys.get(kid)
        if age >= KEYS_S:
            self._asking.start()
        return key

    def _ask(self) -> None:
        self._keys = self._fetched() or self._keys
        self._asked_at = time.monotonic()

    def _fetched(self) -> dict[str, jwt.PyJWK]:
        import requests

        try:
            with requests.Session() as session:
                address = self._oidc.jwks or str(
                    _json(
                        session, f"{self._oidc.issuer.rstrip('/')}/.well-known/openid-configuration"
                    )["jwks_uri"]
                )
                keys = jwt.PyJWKSet.from_dict(_json(session, address)).keys
        except (requests.RequestException, jwt.PyJWTError, ValueError, KeyError) as error:
            logger.error("the issuer's keys could not be fetched: %s", type(error).__name__)
            return {}
        return {str(key.key_id): key for key in keys}


def keepers(config: ServerConfig) -> Sequence[Keeper]:
    """Give who knows tokens; empty = everybody is let in."""
    found: list[Keeper] = []
    if config.token:
        found.append(SharedToken(config.token, User(SHARED_USER, Role.ADMIN)))
    found += [SharedToken(token, user) for token, user in config.tokens]
    if config.oidc:
        found.append(Issuer(config.oidc))
    return found


async def user_of(token: str, known: Sequence[Keeper]) -> User | None:
    """Say who holds a token; None = nobody that any of them knows."""
    for keeper in known:
        user = await keeper.user(token)
        if user is not None:
            return user
    return None


def _json(session: Any, address: str) -> dict[str, Any]:
    answer = session.get(address, timeout=TIMEOUT_S)
    answer.raise_for_status()
    found: dict[str, Any] = answer.json()
    return found


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
