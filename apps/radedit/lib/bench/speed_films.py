"""The films on which the speed of an edit is measured: phantoms with a pneumothorax to remove."""

from __future__ import annotations

import torch

from radedit.lib.bench.cases import NORMAL, draw_removal
from radedit.lib.bench.released import Task
from radedit.lib.bench.speed import Load, asked
from radedit.lib.cases import Case, EditRequest, prepare
from radedit.lib.edit.backbone import Backbone
from radedit.lib.edit.radedit import Conditioning, EditMasks
from radedit.lib.parameters import Defaults
from radedit.lib.sources import FilmSources


def removals(backbone: Backbone, load: Load) -> Task:
    """Draw `load.films` patients with pneumothorax and drain, and ask for a normal chest.

    Raises
    ------
    PromptError
        The model does not know the prompt's words.
    """
    found = []
    for number in range(load.films):
        case = draw_removal(load.seed + number, backbone.image_size)
        masks = FilmSources(case.film, uploaded=case.masks())
        request = EditRequest(NORMAL, "uploaded:edit", "uploaded:keep")
        found.append(prepare(Case(case.film, request, masks), Defaults(), backbone))
    cells = [
        torch.stack([torch.from_numpy(each)[None] for each in masks])
        for masks in ([p.edit_cells for p in found], [p.keep_cells for p in found])
    ]
    image = torch.stack([torch.from_numpy(p.image)[None] for p in found])
    prompts = Conditioning(
        *(backbone.encode_text([text] * load.films) for text in (NORMAL, "", ""))
    )
    return asked(backbone, load, image, prompts, EditMasks(*cells))
