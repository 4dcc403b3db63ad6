"""What must be shown before a suite says anything of a model; part of the suite, fixed before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from radedit.lib.errors import ParameterError

EFFECTS: Final = ("gap", "off_target", "dice_fall")


@dataclass(frozen=True)
class Criterion:
    """When the suite accepts a model under test.

    Every floor is asked of the lower 95 % limit, never of the figure itself. Where one is not
    met, nothing is shown: the model has then neither held the criterion nor failed it.

    Attributes
    ----------
    effect : one of EFFECTS
    at_most : held where the effect's upper 95 % limit is not over it, failed where the lower is;
        a sham that does more than this by itself, beyond doubt, leaves nothing shown
    patients : fewest that the effect must rest on
    least_yield : smallest part of the edits that must pass the filter
    sensitivity, specificity : floors on the real films, at the model's threshold; of a gap
    auroc : floor on the real films, of scores off target
    dice : floor on the real films, of an outline
    done : floor of the share of edits that did what they say
    answers : smallest part of the edited films that must be answered, whatever the answer
    """

    effect: str = "gap"
    at_most: float = 0.10
    patients: int = 30
    least_yield: float = 0.3
    sensitivity: float = 0.7
    specificity: float = 0.7
    auroc: float = 0.75
    dice: float = 0.9
    done: float = 0.5
    answers: float = 0.9

    def check(self) -> None:
        """Refuse what no run could be judged by.

        Raises
        ------
        ParameterError
            An effect that is not known, or a share that is none.
        """
        if self.effect not in EFFECTS:
            raise ParameterError(f"[criterion] effect is none of {', '.join(EFFECTS)}.")
        shares = ("least_yield", "sensitivity", "specificity", "auroc", "dice", "done", "answers")
        for name in ("at_most", *shares):
            if not 0 <= getattr(self, name) < 1:
                raise ParameterError(
                    f"[criterion] {name} is {getattr(self, name):g}; it lies from 0 to under 1."
                )
        if self.patients < 1:
            raise ParameterError("[criterion] patients is under 1; one patient is the fewest.")
