"""Rules as they are written in a route's TOML file."""

from __future__ import annotations

import re
from collections.abc import Collection
from datetime import time

from pydicom.datadict import tag_for_keyword

from radedit_dicom.router.rules import DAYS, Action, Condition, Hours, Kind, Rule
from radedit_dicom.router.tables import Table

_KINDS: tuple[Kind, ...] = ("edit", "stress", "forward", "hold", "discard")
_SENDING = ("edit", "forward", "hold")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _.-]{0,63}")
_MOST_STARS, _LONGEST = 4, 128  # of a pattern: enough for words, too few to keep a machine busy


def read_rules(tables: list[Table], destinations: Collection[str]) -> tuple[Rule, ...]:
    """Read the `[[rules]]` of a file.

    Parameters
    ----------
    tables : list of Table
    destinations : collection of str
        Names that a rule may send to.

    Raises
    ------
    RouteError
        A rule is malformed; says which and what is wrong with it.
    """
    rules: list[Rule] = []
    for table in tables:
        rule = _rule(table, destinations)
        if rule.name in {known.name for known in rules}:
            table.refuse(f"has the name '{rule.name}' of another rule; give each its own")
        rules.append(rule)
    return tuple(rules)


def _rule(table: Table, destinations: Collection[str]) -> Rule:
    name = table.text("name")
    if not _NAME.fullmatch(name):
        table.refuse("needs a name of up to 64 letters, digits, spaces, '_', '.' and '-'")
    table.where = f"rule '{name}'"
    actions = tuple(_action(each, destinations) for each in table.tables("do"))
    if not actions:
        table.refuse("does nothing; give it a [[rules.do]]")
    if len(actions) > 1 and any(action.kind == "discard" for action in actions):
        table.refuse("discards and does something else; a discard stands alone")
    sources = tuple(_checked(table, text) for text in table.texts("from"))
    matched = table.table("match")
    conditions = tuple(_condition(matched, keyword) for keyword in matched.keys())  # noqa: SIM118
    hours = _hours(table.table("time")) if table.has("time") else None
    rule = Rule(
        name=name,
        actions=actions,
        sources=sources,
        conditions=conditions,
        hours=hours,
        go_on=bool(table.flag("go_on", False)),
        priority=table.whole("priority", 0, -100, 100),
    )
    table.done()
    return rule


def _condition(matched: Table, keyword: str) -> Condition:
    if tag_for_keyword(keyword) is None:
        matched.refuse(f"names '{keyword}', which is no DICOM keyword")
    value = matched.raw(keyword)
    if not isinstance(value, dict):
        value = {"is": value}
    table = Table(value, f"{matched.where}.{keyword}")
    found = Condition(
        keyword=keyword,
        any_of=tuple(_checked(table, text) for text in table.texts("is")),
        none_of=tuple(_checked(table, text) for text in table.texts("not")),
        present=table.flag("present", None),
        minimum=table.number("min", 0, -1e12) if table.has("min") else None,
        maximum=table.number("max", 0, -1e12) if table.has("max") else None,
    )
    table.done()
    if found == Condition(keyword):
        table.refuse("asks for nothing; give it is, not, present, min or max")
    return found


def _checked(table: Table, text: str) -> str:
    if not 0 < len(text) <= _LONGEST or text.count("*") > _MOST_STARS:
        table.refuse(
            f"has a pattern that is empty, longer than {_LONGEST} characters or with more than "
            f"{_MOST_STARS} stars"
        )
    return text


def _hours(table: Table) -> Hours:
    days = table.texts("days") or DAYS
    if unknown := set(days) - set(DAYS):
        table.refuse(f"names the day '{sorted(unknown)[0]}'; days are {', '.join(DAYS)}")
    begin, to = _clock(table, "begin", "00:00"), _clock(table, "end", "23:59")
    table.done()
    return Hours(begin, to.replace(second=59, microsecond=999999), days)


def _clock(table: Table, key: str, default: str) -> time:
    text = table.text(key, default)
    if not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", text):
        table.refuse(f"needs a time like 07:30 for '{key}'")
    return time.fromisoformat(text)


def _action(table: Table, destinations: Collection[str]) -> Action:
    named = table.text("action")
    kind = next((known for known in _KINDS if known == named), None)
    if kind is None:
        table.refuse("needs an 'action' of edit, stress, forward, hold or discard")
    to = table.texts("to")
    if unknown := set(to) - set(destinations):
        table.refuse(f"sends to '{sorted(unknown)[0]}', which is no destination of this file")
    if bool(to) != (kind in _SENDING):
        table.refuse("needs 'to' with destinations" if not to else "must not have a 'to'")
    reason = table.text("reason", "") if kind == "discard" else ""
    if kind == "discard" and not reason:
        table.refuse("discards without a 'reason'")
    review = bool(table.flag("review", False)) if kind == "edit" else False
    settings = table.rest() if kind in ("edit", "stress") else {}
    table.done()
    return Action(kind, to, review, reason, settings)
