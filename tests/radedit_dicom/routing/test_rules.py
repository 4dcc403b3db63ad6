"""Rules as data: what fires, what is refused, and that no pattern can keep a machine busy."""

from __future__ import annotations

import re
import time as clock
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from radedit_dicom.router.errors import RouteError
from radedit_dicom.router.route import Route
from radedit_dicom.router.route_file import read_route
from radedit_dicom.router.rules import DAYS, Condition, Facts, Hours, deciding, matches

MONDAY_NIGHT = datetime(2025, 6, 2, 23, 30)
HEAD = 'spool = "spool"\n[receive]\ncallers = ["CR1"]\n[destinations.disk]\naddress = "out"\n'


@pytest.fixture
def facts(make_dataset: Callable[..., Dataset]) -> Callable[..., Facts]:
    def make(source: str = "CR1", at: datetime = MONDAY_NIGHT, **attributes: Any) -> Facts:
        return Facts("1.2.3.4", source, at, make_dataset(**attributes))

    return make


@pytest.fixture
def route(tmp_path: Path) -> Callable[[str], Route]:
    def read(rules: str) -> Route:
        path = tmp_path / "route.toml"
        path.write_text(HEAD + rules)
        return read_route(path)

    return read


RULE = '[[rules]]\nname = "one"\n{}\n[[rules.do]]\naction = "forward"\nto = ["disk"]\n'


@pytest.mark.parametrize(
    ("asked", "so"),
    [
        ('match = { Modality = "CR" }', True),
        ('match = { Modality = ["DX", "cr"] }', True),
        ('match = { Modality = { not = ["CR"] } }', False),
        ("match = { StudyDescription = { present = false } }", True),
        ("match = { AccessionNumber = { present = true } }", True),
        ("match = { Rows = { min = 24, max = 24 } }", True),
        ("match = { Rows = { max = 23 } }", False),
        ("match = { KVP = { min = 1 } }", False),
        ("match = { PatientName = { min = 1 } }", False),
        ('match = { PatientOrientation = "F" }', True),
        ('match = { BodyPartExamined = "*CH?ST*", PatientSex = "F" }', True),
        ('match = { BodyPartExamined = "CHES" }', False),
        ('match = { AccessionNumber = "A." }', False),
        ('from = ["DX*", "CR?"]', True),
        ('from = ["DX*"]', False),
        ('time = { begin = "22:00", end = "06:00" }', True),
        ('time = { begin = "06:00", end = "22:00" }', False),
        ('time = { days = ["sat", "sun"] }', False),
    ],
)
def test_a_rule_fires_when_all_it_asks_for_is_so(
    route: Callable[[str], Route], facts: Callable[..., Facts], asked: str, so: bool
) -> None:
    assert bool(deciding(route(RULE.format(asked)).rules, facts())) is so


def test_the_first_rule_that_fires_decides_unless_it_goes_on(
    route: Callable[[str], Route], facts: Callable[..., Facts]
) -> None:
    first, second = RULE.format(""), RULE.format("").replace("one", "two")
    fired = deciding(route(first + second).rules, facts())
    assert [rule.name for rule in fired] == ["one"]
    fired = deciding(route(first.replace("\n\n", "\ngo_on = true\n") + second).rules, facts())
    assert [rule.name for rule in fired] == ["one", "two"]


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        (RULE.format('match = { NoSuchTag = "x" }'), "no DICOM keyword"),
        (RULE.format('match = { Modality = { like = "x" } }'), "unknown key 'like'"),
        (RULE.format("match = { Modality = {} }"), "asks for nothing"),
        (RULE.format('match = { PatientID = "*a*b*c*d*e" }'), "more than 4 stars"),
        (RULE.format('time = { begin = "25:00" }'), "a time like 07:30"),
        (RULE.format('time = { days = ["Monday"] }'), "names the day 'Monday'"),
        (RULE.format('when = "x"'), "unknown key 'when'"),
        (RULE.format("") + RULE.format(""), "of another rule"),
        (RULE.format("").replace('["disk"]', '["nowhere"]'), "no destination of this file"),
        (RULE.format("").replace('to = ["disk"]', ""), "needs 'to'"),
        (RULE.format("").replace("forward", "eval"), "needs an 'action' of"),
        ('[[rules]]\nname = "one"\n', "does nothing"),
        ('[[rules]]\nname = "one"\n[[rules.do]]\naction = "discard"\n', "without a 'reason'"),
        ("[rules]\n", "list of tables"),
        ("[[rules]\n", "not valid TOML"),
        ("typo = 1\n", "unknown key 'typo'"),
        ("[study]\nquiet_s = 9\nlimit_s = 3\n", "'limit_s' below"),
        ("[destinations.x]\naddress = 'ftp://x'\n", "unknown scheme"),
        ("[destinations.x]\naddress = 'out'\nverify = 'commitment'\n", "no DIMSE archive"),
        ("[destinations.x]\naddress = 'out'\naccess = { password = 'x' }\n", "name a file"),
        ("[http]\nhost = '0.0.0.0'\n", "needs a 'token_file'"),
    ],
)
def test_a_file_that_is_wrong_is_refused_in_a_sentence_that_says_where(
    route: Callable[[str], Route], rules: str, said: str
) -> None:
    with pytest.raises(RouteError, match=said) as refusal:
        route(rules)
    assert str(refusal.value).count("\n") == 0


def test_a_route_without_callers_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "route.toml"
    path.write_text('spool = "spool"\n')
    with pytest.raises(RouteError, match="needs 'callers'"):
        read_route(path)


@pytest.mark.parametrize(
    ("attributes", "synthetic"),
    [
        ({}, False),
        ({"SyntheticData": "YES"}, True),
        ({"ConversionType": "SYN"}, True),
        ({"SyntheticData": "YES", "QualityControlSubject": "YES"}, False),
        ({"SyntheticData": "YES", "QualityControlSubject": "YES", "ConversionType": "SYN"}, True),
    ],
)
def test_an_edit_is_known_by_its_marks_and_a_phantom_is_none(
    facts: Callable[..., Facts], attributes: dict[str, str], synthetic: bool
) -> None:
    assert facts(**attributes).is_synthetic is synthetic


@given(st.text("ab*?.", max_size=12), st.text("ab.", max_size=12))
def test_a_pattern_fits_what_the_same_regular_expression_fits(pattern: str, text: str) -> None:
    plain = "".join({"*": ".*", "?": "."}.get(c, re.escape(c)) for c in pattern)
    assert matches(pattern, text) is (re.fullmatch(plain, text) is not None)


def test_the_worst_pattern_on_the_longest_value_takes_no_time(
    facts: Callable[..., Facts],
) -> None:
    worst = Condition("TextValue", any_of=("*" + "a*" * 3 + "b",))
    began = clock.perf_counter()
    assert not worst.holds(facts(TextValue="a" * 60000))
    assert clock.perf_counter() - began < 30


@given(st.datetimes(min_value=datetime(2025, 1, 1), max_value=datetime(2026, 1, 1)))
def test_a_span_and_its_complement_share_no_moment_and_leave_none_out(at: datetime) -> None:
    day = Hours(datetime(2025, 1, 1, 6).time(), datetime(2025, 1, 1, 21, 59, 59, 999999).time())
    night = Hours(datetime(2025, 1, 1, 22).time(), datetime(2025, 1, 1, 5, 59, 59, 999999).time())
    assert day.holds(at) is not night.holds(at)


def test_a_night_belongs_to_the_day_on_which_it_began() -> None:
    night = Hours(datetime(2025, 1, 1, 22).time(), datetime(2025, 1, 1, 6).time(), ("mon",))
    assert night.holds(datetime(2025, 6, 3, 3))
    assert not night.holds(datetime(2025, 6, 2, 3))
    assert set(night.days) < set(DAYS)
