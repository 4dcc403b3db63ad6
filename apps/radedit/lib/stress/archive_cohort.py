"""A cohort out of a folder or an archive of DICOM studies, with what its films show in a CSV.

The CSV (`label_table`) has a column `sop_instance_uid`, one column of 0 and 1 for each label (empty
= nobody knows), and may have `group`, `text`, `side` and `zone`. Everything about the films and the
table that weakens what can be concluded is found here, before the run, and told with the result.
"""

from __future__ import annotations

import hashlib
import hmac
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydicom.dataset import Dataset

from radedit.lib.errors import FilmError
from radedit.lib.selection import Selection
from radedit.lib.settings import Settings
from radedit.lib.sources import FilmSources
from radedit.lib.stress.label_table import Labelled, read_labels
from radedit.lib.stress.subjects import Problem, Subject
from radedit.lib.stress.suite import Edit
from radedit_dicom.archive import Archive
from radedit_dicom.errors import DicomError
from radedit_dicom.film import Film, read_film
from radedit_dicom.frontal import View
from radedit_dicom.parsing import parse
from radedit_dicom.study import qa_patient_id
from radedit_dicom.uids import is_uid

_UNKNOWN = Labelled({}, {})


@dataclass(frozen=True, eq=False)
class ArchiveCohort:
    """Films that were chosen, and labels of them; made by `open_cohort`.

    Attributes
    ----------
    films : SOP Instance UID and file of each subject
    labels : by UID
    patients : UID to the patient's pseudonym, as `qa_patient_id` makes it
    archive : where `seg:` finds masks
    """

    films: tuple[tuple[str, Path], ...]
    labels: Mapping[str, Labelled]
    patients: Mapping[str, str]
    archive: Archive
    settings: Settings
    problems: tuple[Problem, ...] = ()
    digest: str = field(default="")

    def __len__(self) -> int:
        """Count the films."""
        return len(self.films)

    def is_for(self, edit: Edit) -> bool:
        """Say whether any film is to be edited so, by what is known of it."""
        known = (self.labels.get(uid, _UNKNOWN) for uid, _ in self.films)
        return any(edit.is_for(labelled.present) for labelled in known)

    def subject(self, number: int) -> Subject:
        """Read one film.

        Raises
        ------
        FilmError
            It cannot be read any more.
        """
        uid, path = self.films[number]
        try:
            film = read_film(path)
        except DicomError as error:
            raise FilmError(f"a film of the cohort cannot be read: {error}") from None
        known = self.labels.get(uid, _UNKNOWN)
        remotes = self.settings.remotes
        return Subject(
            key=_name_of_film(uid, self.settings.pseudonym_key),
            patient=self.patients[uid],
            group=known.words.get("group", ""),
            film=film,
            sources=FilmSources(film, archive=self.archive, remotes=remotes),
            present=known.present,
            text=known.words.get("text", ""),
            words=known.words,
            traits=traits_of(film),
        )


def traits_of(film: Film) -> dict[str, str]:
    """Subgroups that a header tells: sex, decade of age, view, maker."""
    header = film.header
    age = str(header.get("PatientAge", "") or "")
    found = {
        "sex": str(header.get("PatientSex", "") or ""),
        "age": f"{int(age[:3]) // 10 * 10}s" if age[:3].isdigit() and age.endswith("Y") else "",
        "view": str(header.get("ViewPosition", "") or ""),
        "maker": str(header.get("Manufacturer", "") or "")[:32],
    }
    return {name: value for name, value in found.items() if value}


def open_cohort(
    selection: Selection,
    archive: Archive,
    table: Path | None,
    settings: Settings,
    needed: Collection[str] | None = None,
) -> ArchiveCohort:
    """Look at all films of a selection and at their labels.

    Parameters
    ----------
    table : CSV of labels; None = nothing is known of any film
    needed : labels that the table must have, as `label_table.read_labels`

    Raises
    ------
    ParameterError
        The table cannot be used.
    """
    labels, problems = read_labels(table, needed) if table is not None else ({}, [])
    films = [_looked_at(path) for path in selection.films.values()]  # one at a time in memory
    seen = [film for film in films if film is not None]
    paths = {film.uid: film.path for film in seen}
    pixels = {film.uid: film.pixels for film in seen}
    patients = _pseudonyms(seen, settings.pseudonym_key)
    kept, more = _without_doubles(paths, pixels, patients, labels)
    problems += more
    spaceless = sum(not film.has_spacing and kept.get(film.uid) == film.path for film in seen)
    absent = set(labels) - set(paths)
    passed_over = _passed_over(selection, absent)
    problems += [
        *(Problem("films passed over", count, f"{count} films of the table were passed over: {why}",
                  "figures on the whole table") for why, count in passed_over.items()),
        *_if(len(absent) - sum(passed_over.values()), "missing films",
             "films of the table are not in the archive", "figures on the whole table"),
        *_if(len(films) - len(seen), "films that cannot be read",
             "files are damaged or hold no film that can be read; they were left out",
             "figures on the whole archive"),
        *_if(len(selection.failed), "films that were not given", "films could not be fetched",
             "figures on the whole archive"),
        *_if(len(set(kept) - set(labels)) if table else 0, "films without labels",
             "films are not in the table; no accuracy is said of them"),
        *_if(spaceless, "no pixel spacing", "films state no pixel spacing, or 0; distances in mm "
             "are not computed for them", "HD95 and ASSD in mm of those films"),
    ]  # fmt: skip
    known = repr(sorted((uid, patients[uid], pixels[uid], labels.get(uid)) for uid in kept))
    return ArchiveCohort(
        films=tuple(sorted(kept.items())),
        labels=labels,
        patients=patients,
        archive=archive,
        settings=settings,
        problems=tuple(problems),
        digest=hashlib.sha256(known.encode()).hexdigest(),
    )


def _passed_over(selection: Selection, absent: Collection[str]) -> dict[str, int]:
    """Count films of the table that are there but were not chosen, by the reason; laterals, say."""
    reasons: Counter[str] = Counter()
    for name, why in selection.passed_over.items() if absent else ():
        uid = name  # of an archive's films; those of a folder go by their path
        if not is_uid(name):
            try:
                uid = str(parse(Path(name), pixels=False).get("SOPInstanceUID", ""))
            except DicomError:
                continue
        if uid in absent:
            reasons[why] += 1
    return dict(reasons)


def _without_doubles(
    paths: Mapping[str, Path],
    pixels: Mapping[str, str],
    patients: Mapping[str, str],
    labels: Mapping[str, Labelled],
) -> tuple[dict[str, Path], list[Problem]]:
    """Leave out films that are there twice, and patients that are in a second group."""
    kept: dict[str, Path] = {}
    seen: set[str] = set()
    home: dict[str, str] = {}
    copies = strangers = 0
    rank = {uid: at for at, uid in enumerate(labels)}  # whoever stands first in the table stays
    for uid in sorted(paths, key=lambda uid: (rank.get(uid, len(rank)), uid)):
        group = labels[uid].words.get("group", "") if uid in labels else ""
        if pixels[uid] in seen:
            copies += 1
        elif home.setdefault(patients[uid], group) != group:
            strangers += 1
        else:
            seen.add(pixels[uid])
            kept[uid] = paths[uid]
    several = sum(n > 1 for n in Counter(patients[uid] for uid in kept).values())
    return kept, [
        *_if(copies, "films there twice", "films have the pixels of another one under another "
             "UID; the later one was left out"),
        *_if(strangers, "patients in two groups", "films belong to a patient whose other films "
             "are in another group; they were left out", "comparisons of groups, as far as they "
             "rest on the films left out"),
        *_if(several, "several films of a patient", "patients have more than one film; intervals "
             "are clustered by patient"),
    ]  # fmt: skip


def _if(count: int, kind: str, sentence: str, loses: str = "") -> list[Problem]:
    return [Problem(kind, count, f"{count} {sentence}", loses)] if count else []


@dataclass(frozen=True)
class _Seen:
    """What is kept of a film when it was looked at; not its pixels."""

    path: Path
    uid: str
    patient: tuple[str, ...]
    study: Dataset
    pixels: str
    has_spacing: bool


def _looked_at(path: Path) -> _Seen | None:
    """Read a film and let go of it; None = it cannot be read."""
    try:
        film = read_film(path)
    except DicomError:
        return None
    study = Dataset()
    for keyword in ("IssuerOfPatientID", "PatientID", "StudyInstanceUID"):
        if keyword in film.header:
            study[keyword] = film.header[keyword]
    return _Seen(
        path=path,
        uid=film.sop_instance_uid,
        patient=View.of(film.header).patient,
        study=study,
        pixels=hashlib.sha256(repr(film.shape).encode() + film.stored.tobytes()).hexdigest(),
        has_spacing=film.spacing_mm is not None,
    )


def _pseudonyms(films: Sequence[_Seen], key: bytes) -> dict[str, str]:
    """Name each film's patient as its edits' QA patient is named.

    Without the site's key that is by a study, and here by the first of the patient's studies:
    patient numbers are few enough to be found from a hash by trying them all, UIDs are not.
    """
    first: dict[tuple[str, ...], Dataset] = {}
    for film in sorted(films, key=lambda film: str(film.study.StudyInstanceUID)):
        first.setdefault(film.patient, film.study)
    return {film.uid: qa_patient_id(first[film.patient], key) for film in films}


def _name_of_film(uid: str, key: bytes) -> str:
    """Name a film in rows and files: with the site's key, so that only the site can tell which."""
    text = f"stress {uid}".encode()
    return (hmac.new(key, text, "sha256") if key else hashlib.sha256(text)).hexdigest()[:16]
