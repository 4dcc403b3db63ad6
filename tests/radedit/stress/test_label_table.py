"""The table of labels: read as spreadsheets write it, or refused without naming a patient."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from radedit.lib.errors import ParameterError
from radedit.lib.stress.label_table import Labelled, read_labels

HEAD = ["sop_instance_uid", "opacity", "group", "text", "side", "zone"]
ROWS = [
    ["1.2.1", "1", "ill", "Consolidation", "left", "lower"],
    ["1.2.2", "0", "well", "No finding", "right", ""],
    ["1.2.3", "", "", "", "", ""],
]
READ = {
    "1.2.1": Labelled({"opacity": True}, dict(zip(HEAD[2:], ROWS[0][2:], strict=True))),
    "1.2.2": Labelled({"opacity": False}, dict(zip(HEAD[2:5], ROWS[1][2:5], strict=True))),
    "1.2.3": Labelled({}, {}),
}


def table(
    head: list[str] | None = None,
    change: Callable[[list[str]], list[str]] = lambda row: row,
    mark: str = ",",
    end: str = "\r\n",
) -> str:
    lines = [HEAD if head is None else head, *(change(list(row)) for row in ROWS)]
    return "".join(mark.join(line) + end for line in lines)


def labels(one: str, other: str) -> Callable[[list[str]], list[str]]:
    words = {"1": one, "0": other, "": ""}
    return lambda row: [row[0], words[row[1]], *row[2:]]


def read(tmp_path: Path, content: str | bytes, *needed: str) -> dict[str, Labelled]:
    path = tmp_path / "labels.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_labels(path, needed or ("opacity",))[0]


@pytest.mark.parametrize(
    "content",
    [
        table(),
        table(end="\n").rstrip("\n"),
        table(mark=";"),
        table(mark="\t"),
        table(mark="|"),
        table().encode("utf-8-sig"),
        table(mark="\t").encode("utf-16"),
        table(change=labels("1.0", "0.0")),
        table(change=labels("1,0", "0,0"), mark=";"),
        table(change=labels("TRUE", "FALSE")),
        table(change=labels("yes", "No")),
        table(["SOPInstanceUID", *HEAD[1:]]),
        table(["SOP Instance UID", *HEAD[1:]]),
        table([HEAD[0], " Opacity ", *HEAD[2:]]),
        table(change=lambda row: [*row[:4], row[4][:1].upper(), row[5]]),
        table(end=",,\r\n"),
        table() + ",,,,,\r\n\r\n",
        '"' + table(mark='","', end='"\r\n"').removesuffix('"'),
    ],
    ids=lambda content: repr(content[:40]),
)
def test_what_spreadsheets_make_of_a_table_is_read_as_the_table(
    content: str | bytes, tmp_path: Path
) -> None:
    assert read(tmp_path, content) == READ


def test_dates_and_other_columns_are_left_alone(tmp_path: Path) -> None:
    more = {"study_date": "2025-03-01", "priors": "3", "reader": "MUELLER"}
    content = table([*HEAD, *more], lambda row: [*row, *more.values()])
    assert read(tmp_path, content) == READ


def test_a_label_keeps_the_suites_spelling(tmp_path: Path) -> None:
    content = table([HEAD[0], "CHEST_DRAIN", *HEAD[2:]])
    assert read(tmp_path, content, "chest drain")["1.2.1"].present == {"chest drain": True}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (table([*HEAD, "opacity"], lambda row: [*row, row[1]]), "more than one column 'opacity'"),
        (table([*HEAD, "Opacity "], lambda row: [*row, row[1]]), "more than one column 'opacity"),
        (table([*HEAD, "SOPInstanceUID"], lambda row: [*row, row[0]]), "more than one column"),
        (table([HEAD[0], "effusion", *HEAD[2:]]), "no column 'opacity'"),
        (table(change=labels("-1", "0")), "column 'opacity' .* 1 cells .*line 2"),
        (table(change=labels("01.01.1900", "00.01.1900")), "2 cells .* nor empty .line 2, 3."),
        (table(change=labels("MUELLER", "0")), "neither 0, 1 nor empty"),
        (table(change=labels("2", "0")), "neither 0, 1 nor empty"),
        (table(change=labels("nan", "0")), "neither 0, 1 nor empty"),
        (table(change=lambda row: ["1.28261E+27", *row[1:]]), "Line 2 .* no SOP Instance UID"),
        (table(change=lambda row: ["", *row[1:]]), "Line 2 .* no SOP Instance UID"),
        (table(change=lambda row: [*row[:4], "MUELLER", ""]), "side in line 2"),
        (table(change=lambda row: [*row, "MUELLER"]), "Line 2 .* 7 cells"),
        (table(change=lambda row: row[:2]), "Line 2 .* 2 cells"),
        (table(["file", *HEAD[1:]]), "comma, semicolon, tab, bar"),
        ("", "no column sop_instance_uid"),
        ("\n\n", "no column sop_instance_uid"),
        (table(change=lambda row: [*row[:3], "gu\xdf", *row[4:]]).encode("cp1252"), "UTF-8"),
        (table().replace("ill", '"ill'), "cannot be read as CSV"),
    ],
)
def test_a_table_that_could_be_meant_otherwise_is_refused_without_naming_a_patient(
    content: str | bytes, said: str, tmp_path: Path
) -> None:
    with pytest.raises(ParameterError, match=said) as refused:
        read(tmp_path, content)
    assert "MUELLER" not in str(refused.value)
    assert str(refused.value)[0].isupper()


def test_films_that_stand_twice_count_for_what_both_lines_say(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(table() + "1.2.1,0,ill,x,left,lower\r\n")
    found, problems = read_labels(path, ("opacity",))
    assert found["1.2.1"].present == {}
    assert [problem.kind for problem in problems] == ["labels that contradict"]


def test_a_table_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="cannot be read"):
        read_labels(tmp_path / "none.csv")


def test_without_a_suite_a_column_with_any_label_is_one_and_one_at_least_is_there(
    tmp_path: Path,
) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(table())
    assert read_labels(path)[0] == READ
    path.write_text(table([HEAD[0], "number", *HEAD[2:]], labels("7", "8")))
    with pytest.raises(ParameterError, match="no column of labels"):
        read_labels(path)
