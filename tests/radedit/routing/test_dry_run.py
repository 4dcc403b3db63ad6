"""A dry run says what a rule orders, and what the gate will say to that."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset

from radedit.lib.pipeline import Editor
from radedit.lib.routing.dry_run import check_words, explain_files, explain_stored
from radedit.lib.routing.edits import EditStep
from radedit.lib.routing.settings import load_route
from radedit.lib.settings import load_settings
from radedit_dicom.errors import DicomError
from radedit_dicom.readback import part10
from radedit_dicom.router.audit import Audit
from radedit_dicom.router.errors import RouteError
from radedit_dicom.router.journal import Journal
from radedit_dicom.router.outbox import Patience
from radedit_dicom.router.spool import Spool
from radedit_dicom.router.work import Work

ROUTE = """
spool = "spool"
[receive]
callers = ["CR1"]
[destinations.qa]
address = "out"
[[rules]]
name = "films"
[rules.match]
Modality = ["CR", "DX", "CT"]
[[rules.do]]
action = "edit"
to = ["qa"]
prompt = "No acute cardiopulmonary process"
"""
CT = {"Modality": "CT", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2"}


@pytest.mark.parametrize(
    "attributes",
    [
        CT,
        {"ViewPosition": "LL"},
        {"BodyPartExamined": "HAND"},
        {"BurnedInAnnotation": "YES"},
        {"SyntheticData": "YES"},
        {"PhotometricInterpretation": "PALETTE COLOR"},
        {"BitsStored": 1, "HighBit": 0},
    ],
)
def test_a_film_that_the_gate_refuses_is_told_with_its_rule_and_its_reason(
    tmp_path: Path,
    make_dataset: Callable[..., Dataset],
    made: Any,
    come: Callable[..., None],
    attributes: dict[str, Any],
) -> None:
    (tmp_path / "night.toml").write_text(ROUTE)
    route = load_route(tmp_path / "night.toml")
    dataset = make_dataset(**attributes)
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    (tmp_path / "film.dcm").write_bytes(part10(dataset))
    (told,) = explain_files(route, [tmp_path / "film.dcm"], "CR1")
    assert told["outcome"].startswith("edit to qa (rule 'films'); but no edit is made of it: ")
    assert told["refused"]
    assert told["outcome"].endswith(told["refused"])
    # What comes in is told the same, and the edit says the same as the dry run.
    come(route.rules[0], dataset)
    assert [each["refused"] for each in explain_stored(route)] == [told["refused"]]
    spool = Spool(route.spool)
    journal = Journal(spool.journal)
    job = Work(journal, Audit(None), "work-0", Patience()).claim()
    if "SyntheticData" in attributes:
        assert job is None
    else:
        assert job is not None
        with pytest.raises(DicomError) as caught:
            EditStep(spool, journal, Editor()).run(job)
        assert str(caught.value) == told["refused"]
    journal.close()


@pytest.mark.parametrize("name", ["prompt", "invert_prompt", "film_text"])
def test_a_dry_run_refuses_a_route_whose_words_the_model_does_not_know(
    tmp_path: Path, name: str
) -> None:
    texts = {"prompt": "Mass", name: "Quidditch"}
    given = "\n".join(f'{key} = "{text}"' for key, text in texts.items())
    kept = [line for line in ROUTE.splitlines() if not line.startswith("prompt")]
    at = next(n for n, line in enumerate(kept) if 'action = "edit"' in line)
    (tmp_path / "night.toml").write_text("\n".join([*kept[: at + 1], given, *kept[at + 1 :]]))
    route = load_route(tmp_path / "night.toml")
    with pytest.raises(RouteError, match="does not know: Quidditch"):
        check_words(route, load_settings())


def test_a_film_that_will_be_edited_is_told_without_more(
    tmp_path: Path, make_dataset: Callable[..., Dataset]
) -> None:
    (tmp_path / "night.toml").write_text(ROUTE)
    dataset = make_dataset()
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    (tmp_path / "film.dcm").write_bytes(part10(dataset))
    route = load_route(tmp_path / "night.toml")
    (told,) = explain_files(route, [tmp_path / "film.dcm"], "CR1")
    assert told["outcome"] == "edit to qa (rule 'films')"
    assert told["refused"] == ""


def test_what_would_go_to_quarantine_is_told_as_that_and_not_as_an_edit(
    tmp_path: Path, make_dataset: Callable[..., Dataset], made: Any, come: Callable[..., None]
) -> None:
    (tmp_path / "night.toml").write_text(ROUTE)
    route = load_route(tmp_path / "night.toml")
    dataset = make_dataset(Rows=4000)  # more than there is
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    (tmp_path / "short.dcm").write_bytes(part10(dataset))
    (tmp_path / "page.html").write_text("<html>")
    told = list(explain_files(route, [tmp_path / "short.dcm", tmp_path / "page.html"], "CR1"))
    assert all(each["outcome"].startswith("quarantined: ") for each in told)
    come(route.rules[0], dataset)
    (row,) = made[1].rows("SELECT state, reason FROM instances")
    assert told[0]["outcome"] == f"{row['state']}: {row['reason']}"
