"""Searches over headers: what matches, and what a row shows."""

from __future__ import annotations

import time
from typing import Any

import pytest

from radedit.lib.errors import ParameterError
from radedit.lib.serving.folder_search import MAX_ROWS, Level, read_query, search, text

UIDS = {"study": "0020000D", "series": "0020000E", "instance": "00080018"}


def header(study: str, series: str, instance: str, **more: Any) -> dict[str, Any]:
    row: dict[str, Any] = {
        tag: {"vr": "UI", "Value": [uid]}
        for tag, uid in zip(UIDS.values(), (study, series, instance), strict=True)
    }
    row["00080060"] = {"vr": "CS", "Value": [more.pop("modality", "CR")]}
    for tag, value in more.items():
        row[tag.lstrip("t")] = {"vr": "LO", "Value": [value]}
    return row


HEADERS = [
    header("1", "1.1", "1.1.1", t00080020="20240115", t00100020="A[1]", t00081030="Thorax"),
    header("1", "1.1", "1.1.2", t00080020="20240115", t00100020="A[1]"),
    header("1", "1.2", "1.2.1", t00080020="20240115", t00100020="A[1]", modality="SEG"),
    header("2", "2.1", "2.1.1", t00080020="20240301", t00100020="BX")
    | {"00100010": {"vr": "PN", "Value": [{"Alphabetic": "M\u00fcller^Ann"}]}},
]


def found(level: Level, *pairs: tuple[str, str]) -> list[str]:
    return [text(row, UIDS[level]) for row in search(level, HEADERS, read_query(pairs))]


@pytest.mark.parametrize(
    ("pairs", "studies"),
    [
        ([], ["1", "2"]),
        ([("StudyInstanceUID", "2")], ["2"]),
        ([("0020000D", "1,2")], ["1", "2"]),
        ([("StudyInstanceUID", "1\\2")], ["1", "2"]),
        ([("StudyDate", "20240115")], ["1"]),
        ([("StudyDate", "20240101-20240131")], ["1"]),
        ([("StudyDate", "20240201-")], ["2"]),
        ([("StudyDate", "-20240201")], ["1"]),
        ([("PatientID", "A[1]")], ["1"]),
        ([("PatientID", "?X")], ["2"]),
        ([("PatientID", "*")], ["1", "2"]),
        ([("PatientName", "m\u00fcller*")], ["2"]),
        ([("PatientName", "")], ["1", "2"]),
        ([("ModalitiesInStudy", "SEG")], ["1"]),
        ([("Modality", "SEG")], ["1"]),
        ([("ModalitiesInStudy", "CT,MR")], []),
        ([("limit", "1")], ["1"]),
        ([("limit", "1"), ("offset", "1")], ["2"]),
        ([("fuzzymatching", "true")], ["1", "2"]),
    ],
    ids=str,
)
def test_studies_are_found_as_the_standard_says(
    pairs: list[tuple[str, str]], studies: list[str]
) -> None:
    assert found("study", *pairs) == studies


def test_series_and_instances_are_found_by_what_is_above_them() -> None:
    assert found("series", ("StudyInstanceUID", "1")) == ["1.1", "1.2"]
    assert found("instance", ("SeriesInstanceUID", "1.1")) == ["1.1.1", "1.1.2"]


def test_a_row_counts_what_is_below_it() -> None:
    study = search("study", HEADERS, read_query([]))[0]
    assert study["00080061"]["Value"] == ["CR", "SEG"]
    assert (study["00201206"]["Value"], study["00201208"]["Value"]) == ([2], [3])
    series = search("series", HEADERS, read_query([]))[0]
    assert series["00201209"]["Value"] == [2]


def test_a_row_shows_the_usual_and_what_is_asked_for() -> None:
    headers = [HEADERS[0] | {"00400275": {"vr": "SQ"}}]
    usual = search("study", headers, read_query([]))[0]
    assert "00081030" in usual
    assert "00400275" not in usual
    for asked in ("all", "00400275", "RequestAttributesSequence"):
        assert "00400275" in search("study", headers, read_query([("includefield", asked)]))[0]


@pytest.mark.parametrize(
    "pair", [("NoSuchName", "x"), ("limit", "-1"), ("limit", "x"), ("offset", "1e3"),
             ("includefield", "zzz"), ("0009ZZZZ", "x")], ids=str,
)  # fmt: skip
def test_what_is_no_query_is_refused(pair: tuple[str, str]) -> None:
    with pytest.raises(ParameterError):
        read_query([pair])


def test_no_search_gives_more_rows_than_the_limit() -> None:
    assert read_query([("limit", "999999999")]).limit == MAX_ROWS


def test_a_pattern_of_many_stars_takes_no_time() -> None:
    rows = [header("1", "1", "1", t00100020="a" * 64)]
    started = time.perf_counter()
    assert search("study", rows, read_query([("PatientID", "a*" * 32 + "b")])) == []
    assert time.perf_counter() - started < 2
