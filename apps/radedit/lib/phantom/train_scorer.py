"""Train the embedded scorer: which sentence belongs to which film, and to which change.

Two losses, both InfoNCE in both directions. One is the usual one between films and sentences.
The other is between the *changes* of two films of one patient and of their two sentences, since
that is what the score compares. A wrong answer of the batch that is true as well shares the
probability with the right one (`claims.agreement`).

Patients, seeds and weights are none of the editor's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import mannwhitneyu
from torch import Tensor, nn
from torch.nn import functional

from radedit.lib.geometry import SquareGrid
from radedit.lib.phantom import films
from radedit.lib.phantom.checkpoint import Trainer
from radedit.lib.phantom.claims import (
    Described,
    agreements,
    change,
    describe_both,
    mirrored,
)
from radedit.lib.phantom.corpus import Corpus
from radedit.lib.phantom.sentences import vocabulary
from radedit.lib.phantom.world import Patient, without, without_devices
from radedit.lib.score.directional import KEEP_FROM, score
from radedit.lib.score.dual_encoder import EmbeddedEncoder, ImageTextNetwork, Shape, save

BATCH = 32  # pairs of films
HELD_OUT = 8  # one patient in so many, the last ones, is only measured on
SHARPNESS = 4  # how fast a sentence that fits in part loses its share of the target
MIN_LENGTH = 0.05  # of a difference of embeddings, so that its direction has a bounded gradient
Films = NDArray[np.uint8]


@dataclass(frozen=True)
class Pair:
    """Two films of one patient that differ in what they show.

    Attributes
    ----------
    films : uint8 [2, S, S]
    patients : what each shows
    """

    films: Films
    patients: tuple[Patient, Patient]

    def turned(self) -> Pair:
        """The same two films in the other order."""
        return Pair(self.films[::-1], (self.patients[1], self.patients[0]))


class _Learner(nn.Module):
    """The network and how sharply each loss tells right from wrong."""

    def __init__(self) -> None:
        super().__init__()
        self.network = ImageTextNetwork(Shape(tuple(vocabulary())))
        self.sharpness = nn.Parameter(torch.full((2,), 2.3))


def train(corpus: Corpus, work: Path, out: Path, steps: int) -> dict[str, float]:
    """Train, write `out` (config.json, model.safetensors), return what was measured.

    Parameters
    ----------
    corpus : patients that neither the editor nor a test is drawn from
    work : where the resumable state lies (scorer.pt)
    """
    torch.manual_seed(5)
    learner = _Learner()
    pairs = _pairs(corpus, learner.network.shape.image_size)
    first_held = len(pairs) - max(2, len(pairs) // HELD_OUT)
    trainer = Trainer(learner, work / "scorer.pt", steps, lr=2e-3)
    trainer.run(lambda step: _loss(learner, pairs[:first_held], step), "scorer")
    network = trainer.averaged().network
    save(network, out)
    return {"loss": trainer.recent()} | measure(EmbeddedEncoder(network), pairs[first_held:])


def _pairs(corpus: Corpus, size: int) -> list[Pair]:
    """Every two films of a patient that differ, at the scorer's size, in order of seeds."""
    grid = SquareGrid(corpus.shown.shape[1], corpus.shown.shape[2], size)

    def small(film: Films) -> Films:
        return np.asarray(np.round(grid.down(film.astype(np.float32))), np.uint8)

    pairs = []
    for number, patient in enumerate(corpus.patients):
        cured = without(patient)
        if "pneumothorax" in patient.kinds:  # as in corpus.triplet
            cured = without_devices(cured, "chest drain")
        variants = [(corpus.shown, patient), (corpus.clear, cured)]
        variants.append((corpus.bare, without_devices(cured)))
        seen = [(small(film[number]), who) for film, who in variants]
        for a, b in ((0, 1), (1, 2), (0, 2)):
            (film_a, who_a), (film_b, who_b) = seen[a], seen[b]
            different = (who_a.findings, who_a.devices) != (who_b.findings, who_b.devices)
            if different and not (a == 0 and b == 2 and _same(seen[1][1], (who_a, who_b))):
                pairs.append(Pair(np.stack([film_a, film_b]), (who_a, who_b)))
    return pairs


def _same(middle: Patient, ends: tuple[Patient, Patient]) -> bool:
    """Whether the film in the middle shows what one of the two ends shows."""
    return any((middle.findings, middle.devices) == (end.findings, end.devices) for end in ends)


def _loss(learner: _Learner, pairs: list[Pair], step: int) -> Tensor:
    rng = np.random.default_rng([step, 23])
    drawn = [pairs[int(i)] for i in rng.integers(len(pairs), size=BATCH)]
    drawn = [pair.turned() if rng.random() < 0.5 else pair for pair in drawn]
    told = [describe_both(*pair.patients, rng) for pair in drawn]
    network = learner.network
    seen = network.image(_augmented(drawn, rng)).reshape(BATCH, 2, -1)
    texts = [film.text for both in told for film in both]
    said = network.text(network.padded(texts)).reshape(BATCH, 2, -1)
    with torch.autocast("cpu", enabled=False):
        sharp = learner.sharpness.exp()
        flat = [film for both in told for film in both]
        films_loss = _info_nce(
            sharp[0] * seen.flatten(0, 1) @ said.flatten(0, 1).T,
            agreements([f.shown for f in flat], [f.said for f in flat]),
        )
        # A change backwards is the opposite change: the best wrong answer there is.
        ways = [*told, *[(b, a) for a, b in told]]
        changes_loss = _info_nce(
            sharp[1] * _directions(seen) @ _directions(said).T,
            agreements(
                [change(a.shown, b.shown) for a, b in ways],
                [change(a.said, b.said) for a, b in ways],
            ),
        )
    return films_loss + changes_loss


def _directions(pairs: Tensor) -> Tensor:
    """Unit differences of [N, 2, D], forwards and then backwards; [2 N, D]."""
    difference = functional.normalize(pairs[:, 1] - pairs[:, 0], dim=1, eps=MIN_LENGTH)
    return torch.cat([difference, -difference])


def _info_nce(logits: Tensor, fits: NDArray[np.float32]) -> Tensor:
    """InfoNCE over rows and over columns of [N, N]; own pairs lie on the diagonal."""
    np.fill_diagonal(fits, 1)
    target = torch.from_numpy(fits**SHARPNESS)
    rows = functional.cross_entropy(logits, target / target.sum(1, keepdim=True))
    columns = functional.cross_entropy(logits.T, target.T / target.T.sum(1, keepdim=True))
    return (rows + columns) / 2


def _augmented(pairs: list[Pair], rng: np.random.Generator) -> Tensor:
    """Both films of a pair under one exposure and one small shift, one of them less sharp.

    An edit passes through an autoencoder and its film does not: sharpness must tell nothing.
    """
    images = []
    for pair in pairs:
        exposure = int(rng.integers(2**31))
        for film in pair.films:
            grey = film / np.float32(255)
            images.append(films.expose(grey, np.random.default_rng([exposure, 1])))
    x = torch.from_numpy(np.stack(images))[:, None]
    blur = torch.from_numpy(rng.uniform(-0.8, 0.8, len(x)).clip(0).astype("f4"))[
        :, None, None, None
    ]
    x = x + blur * (functional.avg_pool2d(x, 3, 1, 1, count_include_pad=False) - x)
    zoom = rng.uniform(0.94, 1.06, len(pairs))
    turn = rng.uniform(-0.06, 0.06, len(pairs))
    shift = rng.uniform(-0.06, 0.06, (len(pairs), 2))
    c, s = zoom * np.cos(turn), zoom * np.sin(turn)
    matrix = np.stack([c, -s, shift[:, 0], s, c, shift[:, 1]], 1).reshape(-1, 2, 3)
    where = torch.from_numpy(matrix.repeat(2, axis=0).astype("f4"))
    moved = functional.affine_grid(where, list(x.shape), align_corners=False)
    return functional.grid_sample(x, moved, align_corners=False)


def measure(encoder: EmbeddedEncoder, pairs: list[Pair]) -> dict[str, float]:
    """Score true changes with their own and with wrong sentences, both ways round.

    Returns
    -------
    "auroc_side", "auroc_change" : how surely the right sentences score above those about the
        other side, and above those of another patient's change; 0.5 = by chance
    "kept_right", "kept_wrong_side", "kept_other_change" : share that passes the 0.2 filter
    "median_right" : of the score
    "retrieval" : share of changes whose best sentence, of all, is true of them
    """
    ways = [way for pair in pairs for way in (pair, pair.turned())]
    told = [describe_both(*w.patients, np.random.default_rng([i, 29])) for i, w in enumerate(ways)]
    grey = [w.films.astype(np.float32) / np.float32(255) for w in ways]

    def scored(
        number: int, texts: tuple[Described, Described], turn: Callable[[str], str]
    ) -> float:
        said = turn(texts[0].text), turn(texts[1].text)
        found = score(encoder, (grey[number][0], grey[number][1]), said).directional
        return float("nan") if found is None else found

    fits = agreements(
        [change(a.shown, b.shown) for a, b in told], [change(a.said, b.said) for a, b in told]
    )
    right = np.array([scored(i, both, str) for i, both in enumerate(told)])
    sided = [i for i, (a, b) in enumerate(told) if any(c.side for c in change(a.said, b.said))]
    wrong_side = np.array([scored(i, told[i], mirrored) for i in sided])
    others = [int(np.argmin(np.roll(row, -i))) + i for i, row in enumerate(fits)]
    other = np.array([scored(i, told[j % len(told)], str) for i, j in enumerate(others)])
    return {
        "pairs": float(len(ways)),
        "auroc_side": _auroc(right[sided], wrong_side),
        "auroc_change": _auroc(right, other),
        "kept_right": _kept(right),
        "kept_wrong_side": _kept(wrong_side),
        "kept_other_change": _kept(other),
        "median_right": float(np.nanmedian(right)),
        "retrieval": _retrieval(encoder, grey, told, fits),
    }


def _retrieval(
    encoder: EmbeddedEncoder,
    grey: list[NDArray[np.float32]],
    told: list[tuple[Described, Described]],
    fits: NDArray[np.float32],
) -> float:
    seen = torch.tensor(np.stack([[encoder.embed_image(f) for f in pair] for pair in grey]))
    said = torch.tensor(np.stack([[encoder.embed_text(d.text) for d in both] for both in told]))
    found = (_directions(seen) @ _directions(said).T)[: len(told), : len(told)].argmax(1)
    own = np.arange(len(told))
    return float(np.mean((fits[own, found] >= 0.999) | (found.numpy() == own)))


def _auroc(right: NDArray[np.float64], wrong: NDArray[np.float64]) -> float:
    right, wrong = right[np.isfinite(right)], wrong[np.isfinite(wrong)]
    if not right.size or not wrong.size:
        return float("nan")
    return float(mannwhitneyu(right, wrong).statistic / (right.size * wrong.size))


def _kept(scores: NDArray[np.float64]) -> float:
    return float(np.mean(scores >= KEEP_FROM)) if scores.size else float("nan")
