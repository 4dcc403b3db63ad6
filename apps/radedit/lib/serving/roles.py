"""What each role may ask for."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})


class Role(IntEnum):
    """What somebody may do; each may do what those below may."""

    READER = 1  # looks at films and edits, and says on the review page what they take them for
    EDITOR = 2  # asks for edits and masks, stores objects, cancels and retries their own jobs
    ADMIN = 3  # cancels anybody's jobs, removes labels, sees everybody's readings


@dataclass(frozen=True)
class User:
    """Who asks.

    Attributes
    ----------
    name : to whom jobs and readings are put down; "" = nobody was asked who they are
    role : what they may do
    """

    name: str
    role: Role


def needed_role(method: str, path: str) -> Role:
    """Say who may ask for something; whose job or reading it is, its route looks at.

    Parameters
    ----------
    method, path : of the request, the path without its prefix
    """
    if path.startswith("/logs"):
        return Role.ADMIN
    if path.startswith("/datastore/dataset"):
        return Role.EDITOR  # all labelled films in one file
    if method in SAFE or path.startswith("/activelearning/"):
        return Role.READER
    if path.startswith("/review/") and path.endswith("/events"):
        return Role.READER
    if method == "DELETE" and path.startswith("/datastore"):
        return Role.ADMIN
    return Role.EDITOR
