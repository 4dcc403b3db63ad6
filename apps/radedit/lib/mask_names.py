"""The names in a mask expression: whether what they name can be there, before it is asked.

The sentence is the same when a request is taken in and when its masks are drawn.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final

from radedit.lib.errors import NotFoundError
from radedit.lib.mask_grammar import parse, sources_of
from radedit.lib.remote_access import RemoteAccess, addressed
from radedit_dicom.vocabulary import plain_label

EMBEDDED_LABELS: Final[Mapping[str, tuple[str, ...]]] = {
    "heart_segmentation": ("heart",),
    "lung_segmentation": ("left", "right", "lungs"),
}
"""The labels of the tasks that are always there (`sources.EMBEDDED_TASKS`)."""


@dataclass(frozen=True)
class KnownNames:
    """What the names of an expression may be.

    Attributes
    ----------
    tasks : labels by task; None = they are seen when the task has run
    uploaded : masks that came with the request
    remotes : which other servers may be called
    """

    tasks: Mapping[str, Collection[str] | None]
    uploaded: Collection[str] = ()
    remotes: RemoteAccess = field(default_factory=RemoteAccess)

    def check(self, expression: str | None) -> None:
        """Refuse an expression that names what is not there; None = no expression.

        Raises
        ------
        MaskError
            It is malformed, or names a server that may not be called.
        NotFoundError
            It names a task, a label or an upload that does not exist.
        """
        for source in sources_of(parse(expression)) if expression else ():
            if source.kind == "uploaded":
                check_uploaded(source.name, self.uploaded)
            elif source.kind == "remote":
                addressed(source.name, self.remotes)
            elif source.kind == "task":
                task, label = known_task(source.name, self.tasks)
                labels = self.tasks[task]
                # A label image may also hold numbers without a name (`mask_files.read_labels`).
                if labels is not None and not (label.isdecimal() and task not in EMBEDDED_LABELS):
                    known_label(label, task, labels)


def known_task(name: str, tasks: Collection[str]) -> tuple[str, str]:
    """Split "TASK[:LABEL]" into a task that there is and a label, "" = all of its labels.

    Raises
    ------
    NotFoundError
        There is no such task.
    """
    task, _, label = name.partition(":")
    if task not in tasks:
        known = ", ".join(sorted(tasks))
        raise NotFoundError(f"There is no mask task '{task}'; known tasks are {known}.")
    return task, label


def known_label(label: str, task: str, labels: Collection[str]) -> str:
    """Give a label as the task spells it, from any spelling of it; "" = all of its labels.

    Raises
    ------
    NotFoundError
        The task has no such label.
    """
    if not label or label in labels:
        return label
    same = [name for name in labels if plain_label(name) == plain_label(label)]
    if len(same) == 1:
        return same[0]
    known = ", ".join(sorted(labels))
    raise NotFoundError(f"The task {task} has no label '{label}'; its labels are {known}.")


def check_uploaded(name: str, uploaded: Collection[str]) -> None:
    """Refuse the name of a mask that did not come.

    Raises
    ------
    NotFoundError
        There is none of that name.
    """
    if name not in uploaded:
        sent = ", ".join(sorted(uploaded)) or "none"
        raise NotFoundError(
            f"There is no mask named '{name}' with the request (sent: {sent}); send it in masks "
            "under that name."
        )
