"""What our processes log, without the identifiers of anybody's films.

Our own lines hold none; libraries quote what they were given in warnings and tracebacks, so what
looks like a DICOM UID is taken out of every line on its way to the log.
"""

from __future__ import annotations

import logging
import re
import sys
from collections import deque
from typing import Final, TextIO

#: Five components or more, or one made of a UUID (PS3.5 9.1 and B.2): no version, no address.
_UID: Final = re.compile(r"(?<![\d.])(?:2\.25\.\d{3,}|[0-2](?:\.\d+){4,})")
_SHOWN: Final = "(UID)"
_LINES: Final = 2000  # of this process, held for whoever asks over the network
_recent: deque[str] = deque(maxlen=_LINES)


class WithoutUids(logging.Formatter):
    """Formats a record, its traceback too, with every DICOM UID replaced."""

    def format(self, record: logging.LogRecord) -> str:
        """Give the text of a record."""
        return _UID.sub(_SHOWN, super().format(record))


class _Recent(logging.Handler):
    """Holds the last lines."""

    def emit(self, record: logging.LogRecord) -> None:
        _recent.append(self.format(record))


def recent_lines(count: int) -> list[str]:
    """Give the last lines that this process has logged.

    Parameters
    ----------
    count : int
        How many; 0 = all that are held.
    """
    lines = list(_recent)
    return lines[-count:] if count else lines


def log_to(form: str, stream: TextIO | None = None) -> None:
    """Log from INFO up, once for the process.

    Parameters
    ----------
    form : str
        Format of a line, in logging's own terms.
    stream : text stream, optional
        Where to; standard error unless given.
    """
    handlers = [logging.StreamHandler(stream or sys.stderr), _Recent()]
    for handler in handlers:
        handler.setFormatter(WithoutUids(form))
    logging.basicConfig(level=logging.INFO, handlers=handlers)
