"""What becomes of an edit's score: found, written down in three places, never in the way."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
import torch
from numpy.typing import NDArray

from radedit.lib.cases import Case, EditRequest
from radedit.lib.deliver import Outbox
from radedit.lib.phantom.sentences import vocabulary
from radedit.lib.pipeline import Edited, Editor
from radedit.lib.score.directional import NO_FILM_TEXT
from radedit.lib.score.dual_encoder import ImageTextNetwork, Shape, save
from radedit.lib.scoring import Scorer
from radedit.lib.settings import load_settings
from radedit.lib.sources import FilmSources
from radedit_dicom.film import Film, read_film
from radedit_dicom.folder import FolderArchive
from radedit_dicom.provenance import read_private
from radedit_dicom.record_reading import read_report_provenance

NORMAL, MASS = "No acute cardiopulmonary process", "Left lung mass"
SIMILARITIES = ("directional_similarity", "image_image_similarity", "image_text_similarity")
REQUEST = EditRequest(
    NORMAL, "ellipse:1470,862,125,140", parameters={"steps": 1, "skip": 0.0, "seed": 7}
)


def editor_with(folder: Path, scorer: Path) -> Editor:
    """Give the embedded model another folder for its scorer."""
    settings = folder / "settings.toml"
    pins = [
        f'"scorer/{path.name}" = "{hashlib.sha256(path.read_bytes()).hexdigest()}"\n'
        for path in scorer.glob("*")
    ]
    settings.write_text(
        "[models.phantom]\nverify = 'on-first-use'\n"
        f"[models.phantom.components.scorer]\nfolder = '{scorer}'\n"
        f"[models.phantom.sha256]\n{''.join(pins)}"
    )
    environ = {"RADEDIT_CONFIG": str(settings), "RADEDIT_MODELS_DIR": str(folder / "models")}
    return Editor(load_settings(environ))


@pytest.fixture(scope="module")
def film(rg1: Path) -> Film:
    return read_film(rg1)


@pytest.fixture(scope="module")
def scoring_editor(tmp_path_factory: pytest.TempPathFactory) -> Editor:
    folder = tmp_path_factory.mktemp("scored")
    torch.manual_seed(0)
    save(ImageTextNetwork(Shape(tuple(vocabulary()))), folder / "scorer")
    return editor_with(folder, folder / "scorer")


@pytest.fixture(scope="module")
def scored(scoring_editor: Editor, film: Film) -> Edited:
    return scoring_editor.edit(film, replace(REQUEST, film_text=MASS))


@pytest.fixture(scope="module")
def unscored(
    tmp_path_factory: pytest.TempPathFactory, film: Film
) -> tuple[Edited, list[str], Path]:
    """Edit with a scorer whose files are not there; also what was logged, and the folder."""
    folder = tmp_path_factory.mktemp("unscored")
    editor = editor_with(folder, folder / "nowhere")
    with pytest.MonkeyPatch.context() as patch:
        logged: list[str] = []
        patch.setattr(
            "radedit.lib.scoring._log.warning", lambda text, *rest: logged.append(text % rest)
        )
        edited = editor.edit(film, REQUEST)
        editor.scorer()
    return edited, logged, folder


def test_a_scored_edit_says_so_in_summary_report_and_record(scored: Edited, tmp_path: Path) -> None:
    found = scored.directional
    assert found.directional is not None
    assert -1 <= found.directional <= 1
    delivered = Outbox(FolderArchive(tmp_path)).deliver(scored)
    summary = json.loads(json.dumps(delivered.summary()))
    assert {name: summary["score"][name] for name in SIMILARITIES} == found.as_scores()
    assert summary["score"]["changed_in_keep"] == 0
    report = pydicom.dcmread(delivered.files["sr"])
    numbers = {
        item.ConceptNameCodeSequence[0].CodeMeaning: float(
            item.MeasuredValueSequence[0].NumericValue
        )
        for item in nodes(report)
        if item.ValueType == "NUM"
    }
    for name in SIMILARITIES:
        assert numbers[name] == pytest.approx(found.as_scores()[name], abs=1e-5)
    for record in (
        read_private(pydicom.dcmread(delivered.files["sc"])),
        read_report_provenance(report),
    ):
        assert record.extra["directional_similarity"] == f"{found.directional:.3f}"
        assert record.extra["film_text"] == MASS
        assert record.extra["scorer"].startswith("phantom ")


def nodes(report: pydicom.Dataset) -> list[pydicom.Dataset]:
    return [item for item in walk(report) if "ValueType" in item]


def walk(dataset: pydicom.Dataset) -> list[pydicom.Dataset]:
    found = [dataset]
    for item in dataset.get("ContentSequence", []):
        found += walk(item)
    return found


def test_a_missing_scorer_does_not_stop_an_edit_and_is_told_once(
    unscored: tuple[Edited, list[str], Path], tmp_path: Path
) -> None:
    edited, logged, folder = unscored
    assert edited.directional.as_scores() == dict.fromkeys(SIMILARITIES)
    reason = edited.provenance.extra["directional_similarity"]
    assert reason.startswith("not scored: the scorer's files are missing")
    assert str(folder) not in reason
    assert "scorer" not in edited.provenance.extra
    assert len(logged) == 1
    assert "scorer/config.json is missing" in logged[0]
    delivered = Outbox(FolderArchive(tmp_path)).deliver(edited)
    assert delivered.summary()["score"]["directional_similarity"] is None
    texts = [item.TextValue for item in nodes(pydicom.dcmread(delivered.files["sr"]))
             if item.ValueType == "TEXT"]  # fmt: skip
    assert set(SIMILARITIES) <= set(texts)  # listed as not computed
    assert any("not scored: the scorer" in text for text in texts)


def test_scoring_changes_no_pixel_and_only_a_film_text_names_another_edit(
    scored: Edited, unscored: tuple[Edited, list[str], Path], scoring_editor: Editor, film: Film
) -> None:
    plain = unscored[0]
    np.testing.assert_array_equal(scored.stored, plain.stored)
    assert scored.provenance.edit_id != plain.provenance.edit_id
    case = scoring_editor.prepare(Case(film, REQUEST, FilmSources(film)))
    assert scoring_editor.edit_id(case) == plain.provenance.edit_id


@dataclass
class Seen:
    """Remembers what it was shown and told, and embeds it somehow."""

    films: list[NDArray[np.float32]] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    def embed_image(self, film: NDArray[np.float32]) -> NDArray[np.float32]:
        self.films.append(film)
        return np.array([1, film.mean()], np.float32)

    def embed_text(self, text: str) -> NDArray[np.float32]:
        self.texts.append(text)
        return np.array([1, len(text)], np.float32)


def test_the_scorer_sees_the_delivered_film_without_padding(
    scoring_editor: Editor, film: Film
) -> None:
    case = scoring_editor.prepare(Case(film, REQUEST, FilmSources(film)))
    display = case.display.copy()
    display[800:900, 1400:1500] += np.float32(0.1)
    seen = Seen()
    Scorer("seen", seen, "").score(case, display)
    before, after = seen.films
    assert before.shape == after.shape == (256, 241)  # of 1955 x 1841
    rows, cols = np.nonzero(before != after)
    scale = 1955 / 256
    assert rows.min() >= 800 / scale - 2
    assert rows.max() <= 900 / scale + 2
    assert cols.min() >= 1400 / scale - 2
    assert cols.max() <= 1500 / scale + 2
    middle = (
        slice(int(840 / scale), int(860 / scale)),
        slice(int(1440 / scale), int(1460 / scale)),
    )
    np.testing.assert_allclose((after - before)[middle], 0.1 / case.contrast, atol=1e-4)
    assert before.min() >= 0
    assert after.max() <= 1


@pytest.mark.parametrize(
    ("film_text", "invert_prompt", "told"),
    [(MASS, "", [NORMAL, MASS]), ("", MASS, [NORMAL, MASS]), (MASS, "Mass", [NORMAL, MASS]),
     ("", "", [NORMAL]), ("  ", "", [NORMAL])],
)  # fmt: skip
def test_the_films_text_is_given_or_the_inversion_prompt_or_unknown(
    scoring_editor: Editor, film: Film, film_text: str, invert_prompt: str, told: list[str]
) -> None:
    request = replace(REQUEST, film_text=film_text, invert_prompt=invert_prompt)
    case = scoring_editor.prepare(Case(film, request, FilmSources(film)))
    seen = Seen()
    found = Scorer("seen", seen, "").score(case, case.display * np.float32(0.9))
    assert sorted(seen.texts) == sorted(told)
    assert found.reason == (NO_FILM_TEXT if len(told) == 1 else "")


def test_a_model_without_a_scorer_says_so(film: Film, scoring_editor: Editor) -> None:
    case = scoring_editor.prepare(Case(film, REQUEST, FilmSources(film)))
    assert Scorer().score(case, case.display).reason.startswith("not scored: the model's entry")


def test_a_film_seen_from_behind_is_scored_the_right_way_round(
    scoring_editor: Editor, film: Film
) -> None:
    header = pydicom.Dataset()
    header.update(film.header)
    header.PatientOrientation = ["R", "F"]
    behind = replace(film, header=header)
    assert behind.is_mirrored
    case = scoring_editor.prepare(Case(behind, REQUEST, FilmSources(behind)))
    display = case.display.copy()
    display[800:900, 1400:1500] += np.float32(0.1)
    seen = Seen()
    Scorer("seen", seen, "").score(case, display)
    before, after = seen.films
    cols = np.nonzero(before != after)[1]
    scale = 1955 / 256
    assert cols.min() >= (1841 - 1500) / scale - 3
    assert cols.max() <= (1841 - 1400) / scale + 3
