"""A stress suite: one TOML file that fixes, before the run, all that the run will say.

Cohort, edits, masks, controls, filter and acceptance criterion are in the file; its sha256 goes
into every row and into the report. Whoever changes the criterion has another suite.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, Final, TypeVar

from radedit.lib.errors import NotFoundError, ParameterError
from radedit.lib.stress.corruptions import CORRUPTIONS, SEVERITIES
from radedit.lib.stress.criterion import Criterion

PACKAGED: Final = Path(__file__).parents[2] / "configs" / "suites"
T = TypeVar("T")


@dataclass(frozen=True)
class Group:
    """Some phantoms of the cohort, drawn from seeds; read by `phantoms`.

    Attributes
    ----------
    name : of the group
    count, first_seed : how many patients, and the first one's seed
    size : pixels of a film's longer side
    world : dials of `phantom.world.World`
    least_px : of a film of 512 x 512, that the finding must cover; it is drawn again until then
    """

    name: str
    count: int
    first_seed: int
    size: int = 512
    world: Mapping[str, Any] = field(default_factory=dict)
    least_px: int = 0


@dataclass(frozen=True)
class Cohort:
    """Which films; from an archive, unless phantoms are named.

    Attributes
    ----------
    phantoms : groups of phantoms
    study, modality : of the archive's films, all unless told
    labels : CSV of what the films show, beside the archive's folder unless told by the command
    """

    phantoms: tuple[Group, ...] = ()
    study: str = ""
    modality: str = ""
    labels: str = ""


@dataclass(frozen=True)
class Question:
    """What the victims are asked.

    Attributes
    ----------
    label : finding whose presence is judged; "" = the victim segments
    structure : what is outlined, where a victim segments
    region : mask expression of the structure's true outline
    watch : other labels whose scores are followed (off-target)
    """

    label: str = ""
    structure: str = ""
    region: str = ""
    watch: tuple[str, ...] = ()


@dataclass(frozen=True)
class Edit:
    """One edit of the suite; `{side}`, `{Side}` and `{zone}` stand for the subject's own.

    Attributes
    ----------
    name : as the report calls it
    prompt, edit_mask, keep_mask, invert_prompt : as `cases.EditRequest`; no edit mask = all
    shape : "" or "box": the edit mask's bounding box, grown by `box_mm`
    keep_rest : keep all but the edit mask
    where : labels that a film must have, or not have, to be edited so
    removes, adds : what is on the film afterwards; for a phantom, its true counterfactual
    parameters : over the model's defaults
    seeds : one edit each
    doses : parts of the edit's change, 0 to 1, that are shown beside the whole
    """

    name: str
    prompt: str
    edit_mask: str = ""
    keep_mask: str = ""
    invert_prompt: str = ""
    shape: str = ""
    box_mm: float = 12.0
    keep_rest: bool = False
    where: Mapping[str, bool] = field(default_factory=dict)
    removes: tuple[str, ...] = ()
    adds: tuple[str, ...] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)
    seeds: tuple[int, ...] = (0, 1, 2)
    doses: tuple[float, ...] = ()

    def is_for(self, present: Mapping[str, bool]) -> bool:
        """Say whether a film that shows this is edited so."""
        return all(present.get(label) is wanted for label, wanted in self.where.items())


@dataclass(frozen=True)
class Controls:
    """What is done beside every edit, to know what an effect is made of.

    Attributes
    ----------
    sham : the same masks and path, asked for what the film shows already
    sham_seeds : how many of the edit's seeds are repeated as sham
    blur_mm : the edit mask blurred by this; 0 = not
    reconstruction : the film through the autoencoder, unedited, inside the edit mask
    masked : the edit mask filled with the grey around it
    corruptions, severities : of the whole film
    """

    sham: bool = True
    sham_seeds: int = 1
    blur_mm: float = 6.0
    reconstruction: bool = True
    masked: bool = True
    corruptions: tuple[str, ...] = ()
    severities: tuple[int, ...] = (1, 3, 5)


@dataclass(frozen=True)
class Filter:
    """Which edits count; the others are kept and shown with their reason.

    Attributes
    ----------
    directional : least directional similarity; edits that cannot be scored are rejected
    image_image, image_text : least similarities of LANCE's filter; None = not asked
    consistent : LANCE's fourth: an independent reader sees what the prompt asked for
    outside : most pixels that may differ outside the support
    """

    directional: float | None = 0.2
    image_image: float | None = None
    image_text: float | None = None
    consistent: bool = False
    outside: int = 0


@dataclass(frozen=True)
class Suite:
    """A parsed suite.

    Attributes
    ----------
    text, sha256 : of the file as it was read
    victims : used unless the command names others
    """

    name: str
    title: str
    intended_use: str
    shift: str
    cohort: Cohort
    question: Question
    edits: tuple[Edit, ...]
    controls: Controls
    filter: Filter
    criterion: Criterion
    victims: tuple[str, ...] = ()
    model: str = ""
    text: str = ""
    sha256: str = ""


def load_suite(name_or_path: str) -> Suite:
    """Read a packaged suite by name, or a file of one's own.

    Raises
    ------
    NotFoundError
        There is no such suite or file.
    ParameterError
        The file is no TOML, or a key is unknown, missing or of the wrong kind; names it.
    """
    path = PACKAGED / f"{name_or_path}.toml"
    if not path.is_file():
        path = Path(name_or_path).expanduser()
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in PACKAGED.glob("*.toml")))
        raise NotFoundError(f"there is no such suite; name a TOML file, or one of {known}.")
    return parse_suite(path.read_bytes())


def parse_suite(content: bytes) -> Suite:
    """Parse the content of a suite's file; errors as `load_suite`."""
    try:
        text = content.decode("utf-8")
        tree = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ParameterError(f"the suite is no TOML: {error}.") from None
    return suite_of({**tree, "text": text, "sha256": hashlib.sha256(content).hexdigest()})


def suite_of(tree: Mapping[str, Any]) -> Suite:
    """Make a suite of its tables, as a file or a report holds them; errors as `load_suite`."""
    cohort = dict(_table(tree, "cohort"))
    groups = tuple(_made(Group, g, "cohort.phantoms") for g in _rows(cohort, "phantoms"))
    parts = {
        "cohort": _made(Cohort, {**cohort, "phantoms": groups}, "cohort"),
        "question": _made(Question, _table(tree, "question"), "question"),
        "edits": tuple(_made(Edit, e, "edits") for e in _rows(tree, "edits")),
        "controls": _made(Controls, _table(tree, "controls"), "controls"),
        "filter": _made(Filter, _filter(_table(tree, "filter")), "filter"),
        "criterion": _made(Criterion, _table(tree, "criterion"), "criterion"),
    }
    suite: Suite = _made(Suite, {**tree, **parts}, "suite")
    _check(suite)
    return suite


def _filter(table: Mapping[str, Any]) -> dict[str, Any]:
    """TOML has no null: false stands for "not asked"."""
    return {key: None if value is False and key != "consistent" else value
            for key, value in table.items()}  # fmt: skip


def _check(suite: Suite) -> None:
    if not suite.edits:
        raise ParameterError("the suite has no [[edits]]; write at least one.")
    if bool(suite.question.label or suite.question.watch) == bool(suite.question.structure):
        raise ParameterError("[question] names a label or labels to watch, or else a structure.")
    if bool(suite.question.structure) != bool(suite.question.region):
        raise ParameterError("[question] structure and region go together; name both or neither.")
    suite.criterion.check()
    names = [edit.name for edit in suite.edits]
    if len(set(names)) != len(names):
        raise ParameterError("two [[edits]] have the same name; give each its own.")
    for edit in suite.edits:
        if edit.shape not in ("", "box") or not edit.seeds:
            raise ParameterError("an edit's shape is box or left out, and it has a seed at least.")
        if any(not 0 < dose < 1 for dose in edit.doses):
            raise ParameterError("doses lie between 0 and 1; the whole edit is there anyway.")
    unknown = set(suite.controls.corruptions) - set(CORRUPTIONS)
    if unknown or set(suite.controls.severities) - set(SEVERITIES):
        raise ParameterError(
            f"[controls] knows the corruptions {', '.join(CORRUPTIONS)}, severities 1 to 5."
        )


def _table(tree: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = tree.get(key, {})
    if not isinstance(found, Mapping):
        raise ParameterError(f"[{key}] of the suite is no table.")
    return found


def _rows(tree: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    found = tree.get(key, [])
    if not isinstance(found, list) or not all(isinstance(row, Mapping) for row in found):
        raise ParameterError(f"[[{key}]] of the suite is no list of tables.")
    return found


def _made(kind: type[T], values: Mapping[str, Any], where: str) -> T:
    """Make a dataclass of a table; lists become tuples, unknown and missing keys are refused."""
    known = {f.name: f for f in fields(kind)}  # type: ignore[arg-type]
    for key in values:
        if key not in known:
            raise ParameterError(f"[{where}] has no key '{key}'; it knows {', '.join(known)}.")
    for name, f in known.items():
        if name not in values and f.default is MISSING and f.default_factory is MISSING:
            raise ParameterError(f"[{where}] lacks the key '{name}'.")
    frozen = {}
    for key, value in values.items():
        _same_kind(where, known[key], value)
        frozen[key] = tuple(value) if isinstance(value, list) else value
    return kind(**frozen)


_KINDS: Final = {"str": str, "int": int, "bool": bool, "float": (int, float)}


def _same_kind(where: str, f: Any, value: Any) -> None:
    stated = str(f.type).split(" |")[0].split("[")[0]
    expected = _KINDS.get(stated, (list, tuple) if stated == "tuple" else None)
    if stated == "Mapping":
        expected = Mapping
    if expected is None or value is None:
        return
    if not isinstance(value, expected) or (isinstance(value, bool) and stated != "bool"):  # type: ignore[arg-type]
        raise ParameterError(f"[{where}] {f.name} is no {stated.lower()}.")
