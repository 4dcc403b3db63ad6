"""What every command shares: refusals in one sentence, JSON, and a progress bar."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from radedit.lib.errors import RadEditError
from radedit_dicom.errors import DicomError

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
_error = Console(stderr=True, soft_wrap=True, highlight=False, emoji=False)


@contextmanager
def refusals() -> Iterator[None]:
    """Turn what our code refuses into one sentence and exit code 1."""
    try:
        yield
    except (RadEditError, DicomError) as error:
        fail(str(error))
    except KeyboardInterrupt:
        fail("stopped; what was finished is written, nothing is half-written.")
    except (typer.Exit, typer.BadParameter):
        raise
    except OSError as error:
        fail(_refused_by_the_system(error))
    except RuntimeError as error:
        if "home directory" not in str(error):  # what pathlib says of a path with ~
            fail(_defect(error))
        fail("A path begins with ~, and this account, or the one named, has no home; write it out.")
    except Exception as error:  # the outermost edge: no traceback, no values
        fail(_defect(error))


def _refused_by_the_system(error: OSError) -> str:
    """Say which file or folder could not be used, and why: a matter of its place, not of ours."""
    if error.strerror is None:
        return _defect(error)
    where = f"'{error.filename}'" if error.filename is not None else "a file or a connection"
    return (
        f"The system does not let this account use {where} ({error.strerror}); see its "
        "permissions and the space left, or name another place."
    )


def _defect(error: Exception) -> str:
    from radedit.lib.bulk import unexpected

    return unexpected(error)


def fail(sentence: str) -> NoReturn:
    """Say why on standard error and end with exit code 1."""
    _error.print(f"radedit: {sentence}", markup=False)
    raise typer.Exit(1)


def print_json(value: Any) -> None:
    """Print one JSON value."""
    json.dump(value, sys.stdout, indent=2, allow_nan=False, default=str)
    sys.stdout.write("\n")


@contextmanager
def bar(title: str) -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar on standard error where a person watches."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(
        *columns, TimeRemainingColumn(), console=_error, disable=not sys.stderr.isatty()
    ) as bars:
        task = bars.add_task(title, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)
