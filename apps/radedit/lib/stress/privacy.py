"""Privacy of the embedded editor: whether edits come near to films that it was trained on.

An editor that copies its training moves edits towards films of the training, and not towards
films of the same world that it never saw. Features of both kinds ship with the model, seen by the
scorer, which shares no weights with the editor; `python -m radedit.lib.stress.privacy` makes them
again. Nobody here has the films that other editors were trained on, so of those nothing is said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import typer

from radedit.lib.stress.quality import Features, nearer_than_source
from radedit.lib.stress.statistics import proportion
from radedit.lib.whole_files import replacing

KEPT: Final = Path(__file__).parents[2] / "model" / "privacy" / "features.npz"
UNSEEN: Final = 9_990_000
FILMS, SIZE = 100, 256
KINDS: Final = ("trained", "unseen")


def privacy_of(
    films: Sequence[Mapping[str, Any]], facts: Mapping[str, Any], kept: Path = KEPT
) -> dict[str, Any] | None:
    """Say how many edits came nearer to a film of the training than their source was.

    Parameters
    ----------
    films : rows of accepted edits, with `features` and `patient`
    facts : of the run; its `model_sha256` and `scorer` are looked at

    Returns
    -------
    "trained", "unseen": share of edits as an estimate over patients; "films": how many of each
    kind there are to be near to. None for another editor or scorer, or without features
    """
    seen = [film for film in films if film.get("features")]
    if not seen or not facts or not kept.is_file():
        return None
    with np.load(kept) as stored:
        ours = [str(stored[name]) for name in ("model_sha256", "scorer")]
        if ours != [facts.get("model_sha256"), facts.get("scorer")]:
            return None
        sets = {kind: stored[kind].astype(float) for kind in KINDS}
    found: dict[str, Any] = {"films": len(sets["trained"])}
    for kind, others in sets.items():
        shares: dict[str, list[float]] = {}
        for film in seen:
            source, edited = (np.array([feature], float) for feature in film["features"])
            nearer = nearer_than_source(source, edited, others)
            shares.setdefault(film["patient"], []).append(nearer)
        found[kind] = asdict(proportion([float(np.mean(values)) for values in shares.values()]))
    return found


def main(
    out: Annotated[Path, typer.Option(help="Where the features go.")] = KEPT,
    films: Annotated[int, typer.Option(help="Of each kind.")] = FILMS,
) -> None:
    """Render films of the embedded editor's training and others, and keep how they look."""
    import torch

    from radedit.lib.phantom.train import EDITOR_SEED
    from radedit.lib.phantom.world import Studio, draw_patient
    from radedit.lib.pipeline import Editor

    torch.set_num_threads(1)
    editor = Editor()
    scorer = editor.scorer()
    encoder = scorer.encoder
    if encoder is None:
        raise typer.BadParameter("the model has no scorer to look with")

    def features(first: int) -> Features:
        drawn = (Studio(draw_patient(first + n), SIZE).render().image for n in range(films))
        return np.array([encoder.embed_image(film) for film in drawn], float)

    out.parent.mkdir(parents=True, exist_ok=True)
    trained, unseen = features(EDITOR_SEED).astype("f4"), features(UNSEEN).astype("f4")
    with replacing(out) as stream:
        np.savez_compressed(
            stream,
            trained=trained,
            unseen=unseen,
            model_sha256=np.array(editor.backbone().sha256),
            scorer=np.array(scorer.name),
        )


if __name__ == "__main__":
    typer.run(main)
