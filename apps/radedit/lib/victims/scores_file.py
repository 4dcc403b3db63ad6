"""A victim that has answered already: a CSV of scores, as vendors send them back."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydicom.uid import generate_uid

from radedit.lib.errors import ParameterError, VictimError
from radedit.lib.victims.about import About
from radedit.lib.victims.answers import sha256_of
from radedit.lib.victims.protocol import Answer, Display, Mask, VictimCard
from radedit.lib.victims.scores import usable_scores
from radedit_dicom.film import Film
from radedit_dicom.uids import is_uid

KEY: Final = "sop_instance_uid"
FILE: Final = "file"
SEPARATORS: Final = ",;\t|"


def offline_uid(uid: str, level: str = "instance") -> str:
    """Name a film that is scored elsewhere, so that its own UID is not told.

    Parameters
    ----------
    uid : SOP Instance UID of the film
    level : instance, study or series
    """
    return str(generate_uid(entropy_srcs=["radedit offline", level, uid]))


@dataclass(frozen=True)
class ScoresFile:
    """Scores by film.

    Attributes
    ----------
    card : VictimCard
    rows : SOP Instance UID to label to text of the score; "" = no answer
    about : for labels in our words
    """

    card: VictimCard
    rows: Mapping[str, Mapping[str, str]]
    about: About

    def answer(
        self, display: Display, valid: Mask | None = None, film: Film | None = None
    ) -> Answer:
        """Look a film up by its SOP Instance UID; see `protocol.Victim`."""
        if film is None:
            raise VictimError("scores in a file are looked up by film, and this one has no UID.")
        uid = film.sop_instance_uid  # or the one under which it was exported for scoring
        row = self.rows.get(uid) or self.rows.get(offline_uid(uid))
        given = {label: text for label, text in (row or {}).items() if text}
        if not given:
            raise VictimError(f"'{self.card.name}' holds no score of this film.")
        scores, assumed = usable_scores(self.about.renamed(given), self.about.unit, True)
        return Answer(scores, None, assumed)


def load_csv(path: Path, about: About) -> ScoresFile:
    """Read a CSV with a column `sop_instance_uid` and one column for each label.

    A column `file`, of the manifest of an export, is none.

    Raises
    ------
    ParameterError
        The file cannot be read, has not these columns, or names a film twice.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            head = file.readline()
            file.seek(0)
            mark = next((m for m in SEPARATORS if KEY in map(str.strip, head.split(m))), ",")
            reader = csv.DictReader(file, delimiter=mark, strict=True)
            names = [name.strip() for name in reader.fieldnames or []]
            reader.fieldnames = names
            lines = list(reader)
    except (OSError, ValueError, csv.Error) as error:
        raise ParameterError(
            f"the scores '{path.name}' cannot be read as CSV ({type(error).__name__})."
        ) from error
    labels = [name for name in names if name not in (KEY, FILE)]
    if KEY not in names or not labels or len(set(names)) != len(names) or "" in names:
        raise ParameterError(
            f"'{path.name}' needs a column {KEY} and one column for each label, each named once."
        )
    rows: dict[str, dict[str, str]] = {}
    for number, line in enumerate(lines, start=2):
        uid = str(line[KEY] or "").strip()
        if None in line or not is_uid(uid) or uid in rows:
            raise ParameterError(
                f"line {number} of '{path.name}' has no valid UID, one that came before, or too "
                "many columns; correct it."
            )
        rows[uid] = {label: str(line[label] or "").strip() for label in labels}
    card = about.card(path.stem, "unknown: the scores were computed elsewhere", sha256_of(path))
    return ScoresFile(card, rows, about)
