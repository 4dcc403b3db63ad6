"""Who scores a model's edits, and the score of one edit.

The embedded model is scored by the embedded scorer, the released one by BioViL-T, whose text
encoder is the very one that the editor listens to: that score is the paper's, and no
independent evidence. A model without a scorer, or whose scorer cannot be loaded, edits all the
same: the record then says that it was not scored, and why. A score never stops an edit.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from radedit.lib.cases import Prepared
from radedit.lib.edit.backbone import Backbone
from radedit.lib.edit.backbone.files import TEXT_WEIGHTS, CheckpointFiles, locate
from radedit.lib.edit.backbone.modules import read_weights
from radedit.lib.errors import CheckpointError
from radedit.lib.geometry import SquareGrid
from radedit.lib.score import biovil, dual_encoder
from radedit.lib.score.directional import Directional, DualEncoder, Film, score
from radedit.lib.settings import ModelSpec
from radedit.lib.settings_file import SCORER

_NONE: Final = "not scored: the model's entry in the registry names no scorer"
_FAILED: Final = "not scored: the scorer's files are missing or wrong; the server's log says which"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Scorer:
    """What scores the edits of one model.

    Attributes
    ----------
    name : which encoder, and the beginning of its weights' sha256; "" = none
    encoder : None = no edit of this model is scored
    reason : why there is no encoder; else ""
    """

    name: str = ""
    encoder: DualEncoder | None = None
    reason: str = _NONE

    def score(self, prepared: Prepared, display: NDArray[np.float32]) -> Directional:
        """Score one edit.

        Parameters
        ----------
        prepared : the case; its film text, or else its inversion prompt, says what was there
        display : float32 [rows, cols], 0 to 1, the edited film as `prepared.display`
        """
        if self.encoder is None:
            return Directional(reason=self.reason)
        request = prepared.case.request
        before = np.clip((prepared.image + 1) / np.float32(2), 0, 1, dtype=np.float32)
        # Only what changed is resampled, so that what did not is the same to the last bit.
        shift = prepared.grid.down(display - prepared.display) / np.float32(prepared.contrast)
        if prepared.case.film.is_mirrored:  # the model's image is the other way round
            shift = shift[:, ::-1]
        after = np.asarray(np.clip(before + shift, 0, 1), np.float32)
        films = (_unpadded(before, prepared.grid), _unpadded(after, prepared.grid))
        return score(self.encoder, films, (request.known_text, request.prompt))


def load_scorer(spec: ModelSpec, backbone: Backbone) -> Scorer:
    """Load a model's scorer.

    Parameters
    ----------
    spec : the model's entry of the registry
    backbone : the model, loaded; BioViL-T reads sentences with its text encoder

    Raises
    ------
    CheckpointError
        Its files are missing, gated, offline, wrong, or fail their hash.
    """
    if SCORER not in spec.components:
        return Scorer()
    files = locate(spec, [SCORER])
    paths = files.paths[SCORER]
    if biovil.WEIGHTS_FILE not in paths:
        return Scorer(_named("phantom", files), dual_encoder.load(paths), "")
    image = biovil.load_image_network(paths[biovil.WEIGHTS_FILE], spec.name)
    text_files = locate(spec, ["text_encoder"]).paths["text_encoder"]
    text_weights = read_weights(text_files[TEXT_WEIGHTS], torch.float32, spec.name)
    head = biovil.load_text_head(text_weights, spec.name)
    for half in (image, head):
        half.to(backbone.device)
    encoder = biovil.BioViLT(image, head, backbone.text.first_state)
    return Scorer(_named("BioViL-T", files), encoder, "")


def scorer_or_reason(spec: ModelSpec, backbone: Backbone) -> Scorer:
    """Load a model's scorer, or say why its edits are not scored; the log has the details."""
    try:
        return load_scorer(spec, backbone)
    except CheckpointError as error:
        _log.warning("edits of model '%s' are not scored: %s", spec.name, error)
        return Scorer(reason=_FAILED)


def record_of(scorer: Scorer, prepared: Prepared, found: Directional) -> Mapping[str, str]:
    """What the provenance says about a score."""
    request = prepared.case.request
    record = {"directional_similarity": found.in_words()}
    if scorer.name:
        record["scorer"] = scorer.name
    if request.film_text:
        record["film_text"] = request.film_text
    return record


def _named(name: str, files: CheckpointFiles) -> str:
    weights = next(d for key, d in sorted(files.sha256.items()) if not key.endswith(".json"))
    return f"{name} {weights[:12]}"


def _unpadded(square: Film, grid: SquareGrid) -> Film:
    """Cut the film out of its square model grid."""
    top, left = round(grid.top / grid.scale), round(grid.left / grid.scale)
    rows, cols = round(grid.rows / grid.scale), round(grid.cols / grid.scale)
    return square[top : top + rows, left : left + cols]
