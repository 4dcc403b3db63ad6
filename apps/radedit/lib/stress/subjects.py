"""Who a stress test is made on: films, what they show, and what is wrong with a cohort."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from radedit.lib.errors import PromptError
from radedit.lib.masks import Sources
from radedit.lib.stress.suite import Edit
from radedit_dicom.film import Film

Image = NDArray[np.float32]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Subject:
    """One film of the cohort.

    Attributes
    ----------
    key : names the film in rows and files; says nothing about the patient
    patient : films of one patient share it; says nothing about who that is
    group : of the cohort
    film, sources : the film, and where its masks come from
    present : label to whether the film shows it
    text : what it shows, in words the editor knows; "" = not known
    words : `side` and `zone`, for prompts
    traits : sex, age, view, site, ...: subgroups
    truth : an edit to its true counterfactual, float32 [rows, cols], 0 to 1; None where nobody
        knows it
    """

    key: str
    patient: str
    group: str
    film: Film
    sources: Sources
    present: Mapping[str, bool]
    text: str = ""
    words: Mapping[str, str] = field(default_factory=dict)
    traits: Mapping[str, str] = field(default_factory=dict)
    truth: Callable[[Edit], Image | None] = lambda edit: None

    def is_for(self, edit: Edit) -> bool:
        """Say whether the suite edits this film so."""
        return edit.is_for(self.present)

    def said(self, text: str) -> str:
        """Fill in `{side}`, `{Side}` and `{zone}`.

        Raises
        ------
        PromptError
            The film's own is not known.
        """
        side = self.words.get("side", "")
        for name in ("side", "zone"):
            if f"{{{name}}}" in text.lower() and not self.words.get(name):
                raise PromptError(f"Nobody told the {name} of the film; write it into the table.")
        return text.format(side=side, Side=side.capitalize(), zone=self.words.get("zone", ""))


@dataclass(frozen=True)
class Problem:
    """What is wrong with a cohort, and what the run can no longer say because of it.

    Attributes
    ----------
    kind : short name, such as "missing films"
    count : how many films or patients
    sentence : what was found and done
    loses : the conclusion that is no longer supported; "" = none
    """

    kind: str
    count: int
    sentence: str
    loses: str = ""


class Cohort(Protocol):
    """Films for a suite, by number, so that processes can share the work."""

    @property
    def digest(self) -> str:
        """Name all that the films follow from."""
        ...

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Say what is wrong with the films that were asked for."""
        ...

    def __len__(self) -> int:
        """Count the subjects."""
        ...

    def subject(self, number: int) -> Subject:
        """Read or draw one subject, 0 to len - 1."""
        ...
