"""Asking a victim that lives elsewhere: again when it cannot be reached, and not for ever."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from radedit.lib.errors import VictimGoneError, VictimPassingError
from radedit.lib.victims.about import Limits

_T = TypeVar("_T")


def asked(limits: Limits, attempt: Callable[[], _T]) -> _T:
    """Try until an answer comes, or one that it cannot be reached has come too often.

    Parameters
    ----------
    limits : how often again, and with which pause
    attempt : raises VictimGoneError or VictimPassingError when another try may go better, any
        other error when not

    Raises
    ------
    VictimGoneError
        It could not be reached at any try.
    VictimPassingError
        It failed at every try, but is there.
    VictimError
        As `attempt` raises it.
    """
    for number in range(limits.retries):
        try:
            return attempt()
        except (VictimGoneError, VictimPassingError) as error:
            if isinstance(error, VictimPassingError) and not error.at_once:
                raise
            time.sleep(limits.pause_s * 2**number)
    return attempt()
