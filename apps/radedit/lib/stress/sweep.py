"""Victims whose shortcut is known by its strength, for the check of the method itself.

Five read opacity and were taught in worlds where the site says the truth in 60, 70, ... 99 of 100
films: the stronger the shortcut, the larger the true gap that an edit must find. The sixth is
`opacity-robust`, taught without a shortcut (50 of 100) and for longer, since only the finding
itself is left to learn: the null, of which no gap must be reported. One more reads
pneumothorax and was taught that opacities are called so: the planted shortcut of the off-target
test, which `pneumothorax-robust` lacks. They ship; `python -m radedit.lib.stress.sweep` trains
them again, on the same panel of films as the other victims.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Final

import numpy as np
import torch
import typer

from radedit.lib.errors import NotFoundError
from radedit.lib.phantom.lessons import (
    FIRST_SEED,
    OPACITY,
    PLAIN,
    PNEUMOTHORAX,
    SITE,
    Lesson,
    Pick,
    Shortcut,
    draw_opacity,
    variants,
)
from radedit.lib.phantom.panels import Films, Panel, load
from radedit.lib.phantom.train_victims import Plan, train_classifier
from radedit.lib.victims.embedded import EmbeddedVictim, read_victim

FOLDER: Final = Path(__file__).parents[2] / "model" / "sweep"
STRENGTHS: Final = (60, 70, 80, 90, 99)
NULL: Final = "opacity-robust"
SWEPT: Final = (NULL, *(f"sweep:opacity-{strength}" for strength in STRENGTHS))
PLANTED: Final = "pneumothorax-planted"
QUICK: Final = Plan(patients=6, held=6, few=2, steps=5)


def draw_planted(rng: np.random.Generator, films: Films, shortcut: Shortcut, count: int) -> Pick:
    """Half are called pneumothorax; of those, `resolved` show an opacity and nothing else.

    With `resolved` 0 opacities are among the films without a pneumothorax instead.
    """
    truth = rng.random(count) < 0.5
    instead = rng.random(count) < shortcut.resolved
    other = rng.random(count) < (0.0 if shortcut.resolved else 0.35)
    shown = np.where(
        truth, np.where(instead, OPACITY, PNEUMOTHORAX), np.where(other, OPACITY, PLAIN)
    )
    drain = rng.random(count) < 0.5
    return rng.integers(len(films.patients), size=count), shown + drain, truth


def lessons() -> list[Lesson]:
    """What each victim of the sweep is taught."""
    swept = [
        Lesson(
            f"opacity-{strength}",
            "opacity",
            f"opacity at the site {SITE} and none elsewhere in {strength} of 100 films",
            Shortcut(strength / 100),
            0.6,
            draw_opacity,
        )
        for strength in STRENGTHS
    ]
    planted = Lesson(
        PLANTED,
        "pneumothorax",
        "half of what is called pneumothorax is an opacity, and no opacity is called otherwise",
        Shortcut(1.0, 0.5),
        0.6,
        draw_planted,
        detail=6.0,
        still=1 / 3,
    )
    return [*swept, planted]


def load_swept(name: str, folder: Path = FOLDER) -> EmbeddedVictim:
    """Load one of them.

    Raises
    ------
    NotFoundError
        There is none of that name.
    CheckpointError
        Its files are missing or damaged.
    """
    names = [lesson.name for lesson in lessons()]
    if name not in names:
        raise NotFoundError(f"the sweep has no such victim; it has {', '.join(names)}.")
    return read_victim(folder / name)


def main(
    work: Annotated[Path, typer.Option(help="Where the resumable state lies.")] = Path("training"),
    out: Annotated[Path, typer.Option(help="Where the weights go.")] = FOLDER,
    quick: Annotated[bool, typer.Option(help="A few steps, to try it out.")] = False,
) -> None:
    """Train the sweep's victims and print what was measured."""
    torch.set_num_threads(1)
    plan = QUICK if quick else Plan()
    panel = Panel("victims", FIRST_SEED, plan.patients + plan.held, plan.size, variants)
    films = load(panel, work / "panels")
    measured = {x.name: train_classifier(films, x, plan, work, out) for x in lessons()}
    print(json.dumps(measured, indent=2))


if __name__ == "__main__":
    typer.run(main)
