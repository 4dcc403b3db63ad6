"""A suite's file is read strictly, and its hash changes with every word of it."""

from __future__ import annotations

import pytest

from radedit.lib.errors import NotFoundError, ParameterError
from radedit.lib.stress.asking import open_named
from radedit.lib.stress.phantom_cohort import PhantomCohort
from radedit.lib.stress.suite import PACKAGED, load_suite, parse_suite
from radedit.lib.stress.sweep import SWEPT, lessons, load_swept
from radedit.lib.victims.embedded import VICTIMS

GOOD = """
name = "one"
title = "One"
intended_use = "Reads"
shift = "manifestation"
[question]
label = "finding"
[[edits]]
name = "removed"
prompt = "No acute cardiopulmonary process"
"""
NAMES = sorted(path.stem for path in PACKAGED.glob("*.toml"))
FOR_OWN_FILMS = {"own-opacity"}


@pytest.mark.parametrize("name", NAMES)
def test_every_packaged_suite_is_complete(name: str) -> None:
    suite = load_suite(name)
    assert suite.name == name
    assert all(len(edit.seeds) >= 3 for edit in suite.edits)
    if name in FOR_OWN_FILMS:  # its films and models are the user's
        assert not suite.victims
        assert not suite.cohort.phantoms
        return
    assert suite.victims
    assert len(PhantomCohort(suite.cohort.phantoms)) >= 30
    assert not PhantomCohort(suite.cohort.phantoms).problems
    for edit in suite.edits:
        edited = suite.cohort.phantoms[0].count * len(edit.seeds)
        assert edited >= 100  # the first group is the one that is edited
    known = {*VICTIMS, *(f"sweep:{lesson.name}" for lesson in lessons())}
    assert set(suite.victims) <= known


def test_no_two_suites_share_a_phantom() -> None:
    seeds: list[int] = []
    for name in NAMES:
        for group in load_suite(name).cohort.phantoms:
            seeds += range(group.first_seed, group.first_seed + group.count)
    assert len(seeds) == len(set(seeds))


def test_the_paper_s_three_shifts_and_roentmods_test_are_there() -> None:
    shifts = {load_suite(name).shift for name in NAMES}
    assert {"acquisition", "manifestation", "population", "off-target"} <= shifts


def test_the_hash_is_of_the_criterion_too() -> None:
    one = parse_suite(GOOD.encode())
    other = parse_suite((GOOD + "[criterion]\nat_most = 0.2\n").encode())
    assert len(one.sha256) == 64
    assert one.sha256 != other.sha256
    assert other.criterion.at_most == 0.2


def test_false_leaves_a_filter_out() -> None:
    suite = parse_suite((GOOD + "[filter]\ndirectional = false\n").encode())
    assert suite.filter.directional is None
    assert suite.filter.consistent is False


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (("title", "titel"), "no key 'titel'"),
        (('title = "One"', ""), "lacks the key 'title'"),
        (('prompt = "No acute cardiopulmonary process"', "prompt = 3"), "prompt is no str"),
        (('label = "finding"', ""), "names a label"),
        (('label = "finding"', 'label = "a"\nstructure = "b"'), "names a label"),
        (('label = "finding"', 'structure = "lungs"'), "structure and region"),
        (("[[edits]]", "[[edit]]"), "no key 'edit'"),
        (('name = "removed"', 'name = "removed"\ndoses = [1.5]'), "doses lie between"),
        (('name = "removed"', 'name = "removed"\nshape = "ring"'), "shape is box"),
        (('name = "removed"', 'name = "removed"\nseeds = []'), "a seed at least"),
        (("[question]", '[controls]\ncorruptions = ["rain"]\n[question]'), "knows the corruptions"),
        (("[question]", '[criterion]\neffect = "luck"\n[question]'), "effect is none of"),
        (("[question]", "[controls]\nsham = 1\n[question]"), "sham is no bool"),
        (("[question]", "[question\n"), "no TOML"),
    ],
)
def test_what_is_wrong_in_a_suite_is_named(change: tuple[str, str], why: str) -> None:
    with pytest.raises(ParameterError, match=why.replace("[", r"\[")):
        parse_suite(GOOD.replace(*change).encode())


def test_a_name_that_is_no_suite_lists_those_there_are() -> None:
    with pytest.raises(NotFoundError, match="manifestation"):
        load_suite("no-such-suite")


def test_a_world_with_an_unknown_dial_is_refused() -> None:
    text = GOOD + '[[cohort.phantoms]]\nname = "g"\ncount = 2\nfirst_seed = 1\nworld = { rain = 1 }'
    with pytest.raises(ParameterError, match="no dial 'rain'"):
        PhantomCohort(parse_suite(text.encode()).cohort.phantoms)


def test_the_sweeps_shortcuts_are_as_strong_as_they_were_taught() -> None:
    # How often a site alone is called, on true counterfactuals of patients never trained on.
    called = [
        open_named(name).card.measured["called, finding gone and shortcut kept"]  # type: ignore[attr-defined]
        for name in (SWEPT[0], *SWEPT[3:])
    ]
    assert SWEPT[0] == "opacity-robust"  # the null
    assert called == sorted(called)
    assert called[0] < 0.05
    assert called[-1] > 0.95
    with pytest.raises(NotFoundError, match="opacity-60"):
        load_swept("opacity-55")
