"""Train every embedded model: `python -m radedit.lib.phantom.train --films DIR`.

Each stage resumes from its file in the work folder and leaves its best weights there; a
finished stage is taken as it is. The phantom is drawn from seeds, so two runs on the same
machine with the same films give the same weights.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import torch
import typer

MODEL = Path(__file__).resolve().parents[2] / "model"


def main(
    films: Annotated[
        Path | None,
        typer.Option(help="Folder with index.csv, images/, lung_masks/; phantoms only without."),
    ] = None,
    work: Annotated[Path, typer.Option(help="Where the resumable state lies.")] = Path("training"),
    out: Annotated[Path, typer.Option(help="Where the weights go.")] = MODEL,
    quick: Annotated[bool, typer.Option(help="A few steps of everything, to try it out.")] = False,
    threads: Annotated[int, typer.Option(help="CPU threads; 0 = as torch chooses.")] = 0,
) -> None:
    """Train lungs, autoencoder and editor, in this order, and print what was measured."""
    from radedit.lib.phantom import train_autoencoder, train_editor, train_lungs

    if threads:
        torch.set_num_threads(threads)
    steps = (3, 3, 3, 24) if quick else (2900, 2400, 5400, 2400)
    measured = {
        "lungs": train_lungs.train(films, work, out / "lungs", steps[0]),
        "autoencoder": train_autoencoder.train(films, work, out / "phantom" / "vae", steps[1]),
        "editor": train_editor.train(films, work, out / "phantom", steps[2], steps[3]),
    }
    print(json.dumps(measured, indent=2))


if __name__ == "__main__":
    typer.run(main)
