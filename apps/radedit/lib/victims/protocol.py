"""What every victim is to a stress test: a card that says what it is, and answers about films.

A victim is a vendor's model. It may run in this process, on another server or behind a DICOM
node; the runner only ever sees a `Victim`. An answer that does not come is a `VictimError` and
is counted as missing: no adapter fills one in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from radedit.lib.errors import VictimError, VictimGoneError
from radedit_dicom.film import Film

__all__ = ["Answer", "Display", "Mask", "Victim", "VictimCard", "VictimError", "VictimGoneError"]

#: float32 [rows, cols], 0 to 1, 1 = white (dense).
Display = NDArray[np.float32]
#: bool [rows, cols], True = inside.
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class VictimCard:
    """What is known of a victim; goes into the report as it stands.

    Attributes
    ----------
    name : as the report calls it
    version : as its vendor calls it; "" when nobody said
    threshold : operating point, 0 to 1: positive where a score is at least this
    preprocessing : in a sentence, what is done to a film before the model sees it
    sha256 : of the model's file, in hex; None when it is not a file of ours (a server, a node)
    thresholds : operating points of labels that have their own
    assumed : whether nobody told the threshold, so that 0.5 stands for it
    described : digest of all else that its answers follow from: its address, and what its file
        says of labels, activation, input and form; "" when there is nothing of the kind
    """

    name: str
    version: str
    threshold: float
    preprocessing: str
    sha256: str | None = None
    thresholds: Mapping[str, float] = field(default_factory=dict)
    assumed: bool = False
    described: str = ""

    def threshold_of(self, label: str) -> float:
        """Operating point of one label, 0 to 1: its own, else the victim's."""
        return self.thresholds.get(label, self.threshold)


@dataclass(frozen=True, eq=False)
class Answer:
    """What a victim said of one film; a label that it said nothing of is absent.

    Attributes
    ----------
    scores : label to a finite number, 0 to 1, higher = rather present
    segments : label to bool [rows, cols] on the pixels of `display` as it was given, True =
        inside; None when the victim does not segment
    is_percent : whether its numbers were taken for per cent, though nobody said so
    """

    scores: Mapping[str, float]
    segments: Mapping[str, Mask] | None = None
    is_percent: bool = False


class Victim(Protocol):
    """A model under test."""

    @property
    def card(self) -> VictimCard:
        """What is known of it."""
        ...

    def answer(
        self, display: Display, valid: Mask | None = None, film: Film | None = None
    ) -> Answer:
        """Ask about one film.

        Parameters
        ----------
        display : float32 [rows, cols], 0 to 1, 1 = white (dense), the patient's left on the right
        valid : bool [rows, cols], True = a measured pixel (not padding); all unless told
        film : the film that `display` shows (turned round where `film.is_mirrored`), an edited
            one's own stored values and UIDs included. Victims behind DICOM get its pixels
            without its identity, and scores in a file are looked up by its SOP Instance UID;
            others need none.

        Returns
        -------
        Answer

        Raises
        ------
        VictimGoneError
            It cannot be reached or has died: the run should stop, to be gone on with later.
        VictimError
            No usable answer about this film: count it as missing.
        FilmError
            The film is not one grey picture of finite values.
        """
        ...
