"""Edits as training data: what MONAI reads, and a reader that is mended by it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.data.decathlon_datalist import load_decathlon_datalist

from radedit.lib.errors import ParameterError
from radedit.lib.phantom import networks
from radedit.lib.pipeline import Editor
from radedit.lib.stress.augment import DATALIST, export_pairs, repair, shares
from radedit.lib.stress.findings import sort_rows
from radedit.lib.stress.phantom_cohort import PhantomCohort
from radedit.lib.stress.runner import Plan, run
from radedit.lib.stress.subjects import Subject
from radedit.lib.stress.suite import Controls, Suite, load_suite
from radedit.lib.victims.embedded import load_victim
from radedit_dicom.pixels import to_display

torch.set_num_threads(1)


class Drawn:
    """A cohort whose subjects are rendered once."""

    def __init__(self, cohort: PhantomCohort) -> None:
        self.digest, self.problems = cohort.digest, cohort.problems
        self._subjects = [cohort.subject(number) for number in range(len(cohort))]

    def __len__(self) -> int:
        return len(self._subjects)

    def subject(self, number: int) -> Subject:
        return self._subjects[number]


@pytest.fixture(scope="module")
def suite() -> Suite:
    from dataclasses import replace

    full = load_suite("manifestation")
    groups = tuple(replace(group, count=2, size=160) for group in full.cohort.phantoms)
    edit = replace(full.edits[0], seeds=(0,), doses=(), parameters={"steps": 2})
    return replace(
        full,
        cohort=replace(full.cohort, phantoms=groups),
        edits=(edit,),
        controls=Controls(False, 0, 0.0, False, False),
        filter=replace(full.filter, directional=None, consistent=False),
    )


@pytest.fixture(scope="module")
def exported(suite: Suite, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("augment")
    victims = ("pneumothorax-biased",)
    plan = Plan(suite, PhantomCohort(suite.cohort.phantoms), victims, out / "run")
    ledger = run(plan, lambda i, n: None, Editor())
    return export_pairs(plan, sort_rows(suite, ledger.rows()), out / "data")


def test_monai_reads_the_datalist_with_its_labels(exported: Path) -> None:
    rows = load_decathlon_datalist(str(exported), is_segmentation=False)
    told = json.loads(exported.read_text())
    assert exported.name == DATALIST
    assert told["labels"] == ["pneumothorax"]
    assert len(rows) == 4 + 2  # real films, and an edit of each that has the finding
    for row in rows:
        image = np.load(row["image"])
        assert image.ndim == 2
        assert 0 <= image.min() <= image.max() <= 1
    labels = sorted((row["synthetic"], int(np.ravel(row["label"])[0])) for row in rows)
    assert labels == [(False, 0), (False, 0), (False, 1), (False, 1), (True, 0), (True, 0)]


def test_training_on_true_counterfactuals_mends_the_reader_of_drains(
    suite: Suite, tmp_path: Path
) -> None:
    """What perfect edits would do: the export's form, with the truth in place of edits."""
    cohort, edit = Drawn(PhantomCohort(suite.cohort.phantoms)), suite.edits[0]
    (tmp_path / "images").mkdir()
    rows = []
    for number in range(len(cohort)):
        subject = cohort.subject(number)
        films = [(to_display(subject.film), int(subject.is_for(edit)), False)]
        if subject.is_for(edit):
            films.append((subject.truth(edit), 0, True))
        for at, (image, label, synthetic) in enumerate(films):
            name = f"images/{number}-{at}.npy"
            np.save(tmp_path / name, image)
            rows.append({"image": name, "label": [label], "synthetic": synthetic})
    (tmp_path / DATALIST).write_text(json.dumps({"training": rows}))
    biased = load_victim("pneumothorax-biased")
    before = shares(biased, cohort, edit)
    mended = repair(biased, tmp_path / DATALIST, steps=300)
    after = shares(mended, cohort, edit)
    assert (before.ill, before.cured) == (1.0, 1.0)
    assert after.ill is not None
    assert after.cured is not None
    assert after.ill > after.cured
    assert after.cured <= 0.5
    again = load_victim("pneumothorax-biased").network.state_dict()
    assert all(torch.equal(v, biased.network.state_dict()[k]) for k, v in again.items())


def test_data_without_edits_mends_nothing_and_says_so(exported: Path, tmp_path: Path) -> None:
    told = json.loads(exported.read_text())
    rows = [
        {**r, "image": str(exported.parent / r["image"])}
        for r in told["training"]
        if not r["synthetic"]
    ]
    (tmp_path / DATALIST).write_text(json.dumps({"training": rows}))
    with pytest.raises(ParameterError, match="lacks edits"):
        repair(load_victim("pneumothorax-biased"), tmp_path / DATALIST)


def test_an_outliner_of_lungs_is_not_trained_on(exported: Path) -> None:
    segmenter = load_victim("lungs-weak")
    assert not isinstance(segmenter.network, networks.Classifier)
    with pytest.raises(ParameterError, match="embedded classifiers"):
        repair(segmenter, exported)
