"""Train every embedded model: `make train`, or `python -m radedit.lib.phantom.train`.

Each stage resumes from its file in the work folder and leaves its best weights there; a
finished stage is taken as it is. Phantoms are drawn from seeds, so two runs of one preset on the
same machine with the same films give the same weights. A GPU is used where there is one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from radedit.lib.errors import ParameterError
from radedit.lib.phantom.corpus import Corpus, Draw, load
from radedit.lib.phantom.world import World

MODEL = Path(__file__).resolve().parents[2] / "model"
EDITOR_SEED, SCORER_SEED = 1_000_000, 3_000_000


@dataclass(frozen=True)
class Preset:
    """How much of everything.

    Attributes
    ----------
    patients, scorer_patients : rendered for the editor, and for the scorer
    autoencoder, lungs, editor, scorer : optimiser steps
    quick : judge and victims on a handful of patients too
    """

    patients: int
    scorer_patients: int
    autoencoder: int
    lungs: int
    editor: int
    scorer: int
    quick: bool = False


PRESETS: Mapping[str, Preset] = {
    "quick": Preset(12, 12, 2, 2, 2, 2, quick=True),
    # About three hours on two cores; what the shipped weights were made with.
    "cpu": Preset(2600, 500, 3000, 4000, 4500, 600),
    "night": Preset(6000, 3000, 12_000, 8000, 30_000, 3000),
    "gpu": Preset(20_000, 6000, 60_000, 20_000, 200_000, 10_000),
}


def main(
    stages: Annotated[
        list[str] | None,
        typer.Argument(help="autoencoder, editor, lungs, scorer, judge, victims; all if none."),
    ] = None,
    films: Annotated[
        Path | None,
        typer.Option(help="Folder with index.csv, images/, lung_masks/; phantoms only without."),
    ] = None,
    work: Annotated[Path, typer.Option(help="Where the resumable state lies.")] = Path("training"),
    out: Annotated[Path, typer.Option(help="Where the weights go.")] = MODEL,
    preset: Annotated[str, typer.Option(help=f"One of {', '.join(PRESETS)}.")] = "cpu",
    threads: Annotated[int, typer.Option(help="CPU threads; 0 = as torch chooses.")] = 0,
) -> None:
    """Train the embedded models, in this order, and print what was measured of each."""
    if preset not in PRESETS:
        raise typer.BadParameter(f"expected one of {', '.join(PRESETS)}", param_hint="--preset")
    if films and not (films / "index.csv").is_file():
        wanted = "a folder with index.csv, images/ and lung_masks/"
        raise typer.BadParameter(f"expected {wanted}", param_hint="--films")
    known = _stages(PRESETS[preset], films, work, out)
    for stage in stages or ():
        if stage not in known:
            raise typer.BadParameter(f"expected some of {', '.join(known)}", param_hint="STAGES")
    if threads:
        torch.set_num_threads(threads)
    try:
        measured = {name: run() for name, run in known.items() if not stages or name in stages}
    except ParameterError as error:  # of the films' index
        raise typer.BadParameter(str(error), param_hint="--films") from error
    print(json.dumps(measured, indent=2))


def _stages(
    preset: Preset, films: Path | None, work: Path, out: Path
) -> Mapping[str, Callable[[], Any]]:
    from radedit.lib.phantom import (
        train_autoencoder,
        train_editor,
        train_judge,
        train_lungs,
        train_scorer,
        train_victims,
    )

    phantom = out / "phantom"

    def corpus() -> Corpus:
        return load(Draw(EDITOR_SEED, preset.patients), work / "corpus")

    def scorer_corpus() -> Corpus:
        world = World(drain_given_pneumothorax=0.5)
        draw = Draw(SCORER_SEED, preset.scorer_patients, world=world)
        return load(draw, work / "scorer-corpus")

    judge = train_judge.QUICK if preset.quick else train_judge.Plan()
    victims = train_victims.QUICK if preset.quick else train_victims.Plan()
    return {
        "autoencoder": lambda: train_autoencoder.train(
            films, corpus(), work, phantom / "vae", preset.autoencoder
        ),
        "editor": lambda: train_editor.train(films, corpus(), work, phantom, preset.editor),
        "lungs": lambda: train_lungs.train(films, corpus(), work, out / "lungs", preset.lungs),
        "scorer": lambda: train_scorer.train(scorer_corpus(), work, out / "scorer", preset.scorer),
        "judge": lambda: train_judge.train(work, out / "judge", judge),
        "victims": lambda: train_victims.train(work, out / "victims", victims),
    }


if __name__ == "__main__":
    typer.run(main)
