"""Rules: which objects, and what to do with them. Data only; nothing in them is ever run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, time
from functools import cached_property
from typing import Any, Literal

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from radedit_dicom.gate import is_phantom

Kind = Literal["edit", "stress", "forward", "hold", "discard"]
_LONGEST_VALUE = 1024  # characters that a pattern looks at
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


@dataclass(frozen=True)
class Facts:
    """What is known of one object.

    Attributes
    ----------
    uid, source : str
        SOP instance UID; AE title of the sender, "folder" or "stow".
    received : datetime.datetime
        Local time.
    header : pydicom.Dataset
    """

    uid: str
    source: str
    received: datetime
    header: Dataset

    def values(self, keyword: str) -> tuple[str, ...]:
        """Give the values of an attribute, of a sequence of codes the code values."""
        value = self.header.get(keyword)
        if value is None or value == "":
            return ()
        if isinstance(value, MultiValue):
            return tuple(str(each) for each in value)
        if isinstance(value, Sequence) and not isinstance(value, str | bytes):
            return tuple(str(item.get("CodeValue", "")) for item in value)
        return (str(value),)

    @property
    def is_synthetic(self) -> bool:
        """Whether the object says that it is an edit; a phantom, which is none, may be edited."""
        marked = str(self.header.get("SyntheticData", "")) == "YES"
        made = str(self.header.get("ConversionType", "")) == "SYN"
        return made or (marked and not is_phantom(self.header))


def matches(pattern: str, text: str) -> bool:
    """Tell whether `*`, any characters, and `?`, any one, make a pattern fit; case is ignored.

    By hand, since a regular expression with several stars takes hours over a hostile value: at
    a mismatch only the last star takes one character more, so the cost is at most the product
    of the lengths.
    """
    pattern, text = pattern.casefold(), text.casefold()
    at = here = 0
    star, tried = -1, 0
    while here < len(text):
        if at < len(pattern) and pattern[at] == "*":
            star, tried = at, here
            at += 1
        elif at < len(pattern) and pattern[at] in ("?", text[here]):
            at, here = at + 1, here + 1
        elif star >= 0:
            tried += 1
            at, here = star + 1, tried
        else:
            return False
    return not pattern[at:].strip("*")


@dataclass(frozen=True)
class Condition:
    """One attribute and what it must be; everything given must hold.

    Attributes
    ----------
    keyword : str
        DICOM keyword.
    any_of, none_of : tuple of str
        Patterns: some value must match one of them; no value may match one.
    present : bool or None
        True: it must have a value. False: it must have none.
    minimum, maximum : float or None
        Every value must be a number between them.
    """

    keyword: str
    any_of: tuple[str, ...] = ()
    none_of: tuple[str, ...] = ()
    present: bool | None = None
    minimum: float | None = None
    maximum: float | None = None

    def holds(self, facts: Facts) -> bool:
        """Tell whether an object fulfils it."""
        values = facts.values(self.keyword)
        if self.present is not None and bool(values) != self.present:
            return False
        if self.any_of and not _match(values, self.any_of):
            return False
        if self.none_of and _match(values, self.none_of):
            return False
        return self._in_range(values)

    def _in_range(self, values: Sequence[str]) -> bool:
        if self.minimum is None and self.maximum is None:
            return True
        try:
            numbers = [float(value) for value in values]
        except ValueError:
            return False
        low = -float("inf") if self.minimum is None else self.minimum
        high = float("inf") if self.maximum is None else self.maximum
        return bool(numbers) and all(low <= number <= high for number in numbers)

    def __str__(self) -> str:
        """Say it in words, without any value of an object."""
        said = []
        if self.present is not None:
            said.append("is present" if self.present else "is absent")
        if self.any_of:
            said.append(f"is {' or '.join(self.any_of)}")
        if self.none_of:
            said.append(f"is not {' nor '.join(self.none_of)}")
        if self.minimum is not None:
            said.append(f"is at least {self.minimum:g}")
        if self.maximum is not None:
            said.append(f"is at most {self.maximum:g}")
        return f"{self.keyword} {' and '.join(said)}"


def _match(values: Sequence[str], patterns: Sequence[str]) -> bool:
    return any(
        matches(wanted, value[:_LONGEST_VALUE].strip()) for wanted in patterns for value in values
    )


@dataclass(frozen=True)
class Hours:
    """When an object must have come in, in local time; `to` before `begin` spans midnight."""

    begin: time = time(0)
    to: time = time(23, 59, 59, 999999)
    days: tuple[str, ...] = DAYS

    def holds(self, at: datetime) -> bool:
        """Tell whether a time is within; the day is that on which the span began."""
        clock = at.time()
        if self.begin <= self.to:
            return self.begin <= clock <= self.to and DAYS[at.weekday()] in self.days
        if clock >= self.begin:
            return DAYS[at.weekday()] in self.days
        return clock <= self.to and DAYS[(at.weekday() - 1) % 7] in self.days

    def __str__(self) -> str:
        """Say it in words."""
        days = "" if self.days == DAYS else f" on {', '.join(self.days)}"
        return f"received from {self.begin:%H:%M} to {self.to:%H:%M}{days}"


@dataclass(frozen=True)
class Action:
    """What to do.

    Attributes
    ----------
    kind : str
    to : tuple of str
        Destinations of results (edit) or of the object itself (forward, hold).
    review : bool
        True: what goes to the destinations waits until a person releases it.
    reason : str
        Of a discard.
    settings : mapping
        The remaining keys of an edit or of a stress suite.
    """

    kind: Kind
    to: tuple[str, ...] = ()
    review: bool = False
    reason: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def held(self) -> bool:
        """Whether what it sends waits for a person."""
        return self.review or self.kind == "hold"


@dataclass(frozen=True)
class Rule:
    """One rule.

    Attributes
    ----------
    name : str
    actions : tuple of Action
    sources : tuple of str
        Patterns of AE titles; none: from anywhere.
    conditions : tuple of Condition
        All must hold.
    hours : Hours or None
    go_on : bool
        True: the rules behind it are asked as well when it fires.
    priority : int
        Of what it orders; higher goes first.
    """

    name: str
    actions: tuple[Action, ...]
    sources: tuple[str, ...] = ()
    conditions: tuple[Condition, ...] = ()
    hours: Hours | None = None
    go_on: bool = False
    priority: int = 0

    @cached_property
    def has_discard(self) -> bool:
        """Whether objects that it fires for go nowhere."""
        return any(action.kind == "discard" for action in self.actions)

    def why(self, facts: Facts) -> list[tuple[str, bool]]:
        """Give each thing that it asks for, in words, and whether it is so."""
        asked = []
        if self.sources:
            said = f"sent by {' or '.join(self.sources)}"
            asked.append((said, _match((facts.source,), self.sources)))
        asked += [(str(condition), condition.holds(facts)) for condition in self.conditions]
        if self.hours is not None:
            asked.append((str(self.hours), self.hours.holds(facts.received)))
        return asked

    def fires(self, facts: Facts) -> bool:
        """Tell whether everything that it asks for is so."""
        return all(so for _, so in self.why(facts))


def deciding(rules: Sequence[Rule], facts: Facts) -> list[Rule]:
    """Give the rules that fire for an object, in their order: the first, unless it goes on."""
    fired = []
    for rule in rules:
        if rule.fires(facts):
            fired.append(rule)
            if not rule.go_on:
                break
    return fired
