"""One film and what to do with it: the request, checked, and its masks, drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from radedit.lib import masks
from radedit.lib.edit.backbone import Backbone
from radedit.lib.errors import FilmError, MaskError
from radedit.lib.geometry import FLAT, SquareGrid, stretched
from radedit.lib.lifted import lifted_off, wide_parts
from radedit.lib.mask_grammar import parse
from radedit.lib.parameters import Defaults as Parameters
from radedit_dicom.film import Film
from radedit_dicom.pixels import to_display

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class EditRequest:
    """What to do with one film.

    Attributes
    ----------
    prompt : what the edited region shall show
    edit_mask : expression of the mask grammar; None = the whole film
    keep_mask : expression of the mask grammar; None = nothing is kept
    invert_prompt : text the inversion is conditioned on, "" as in the paper
    model : an entry of the model registry; None = the default one
    parameters : method, steps, skip, guidance, seed, support, ...; the model's own defaults
        fill in what is not given
    film_text : what the film shows before the edit; only the score reads it, which else takes
        the inversion prompt for it
    """

    prompt: str
    edit_mask: str | None = None
    keep_mask: str | None = None
    invert_prompt: str = ""
    model: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    film_text: str = ""

    @property
    def known_text(self) -> str:
        """What is known of the film before the edit, in words; "" = nothing."""
        return self.film_text.strip() or self.invert_prompt.strip()


@dataclass(frozen=True, eq=False)
class Case:
    """One film, what to do with it, and where its masks come from."""

    film: Film
    request: EditRequest
    sources: masks.Sources


@dataclass(frozen=True, eq=False)
class Prepared:
    """A case that was checked.

    Attributes
    ----------
    edit, keep : bool [rows, cols]; what of the keep mask keeps its values is taken out of edit,
        objects whose attenuation is kept are not. These two are what is stored beside the edit,
        and all else of the masks follows from them
    held : bool [rows, cols], what of the keep mask keeps its values: all of it, or only wide
        objects where an attenuation is kept
    edit_cells, keep_cells : bool [h, w], edit and held on the latent grid, as the model sees it
    display : float32 [rows, cols], 0 to 1
    image : float32 [S, S], -1 to 1, what the model sees: the patient's left on the right, so
        that sides in a prompt are the patient's, however the film is stored; without the
        objects whose attenuation is kept
    contrast : display intensity between the model's black and white
    lifted : float32 [rows, cols], display intensity of the objects whose attenuation is kept,
        0 beside them; None: there are none
    """

    case: Case
    parameters: Parameters
    edit: Mask
    keep: Mask
    held: Mask
    edit_cells: Mask
    keep_cells: Mask
    display: NDArray[np.float32]
    image: NDArray[np.float32]
    grid: SquareGrid
    contrast: float
    lifted: NDArray[np.float32] | None = None

    @property
    def cells_lost_to_keep(self) -> float:
        """The part, 0 to 1, of the edit mask's latent cells that the keep mask takes."""
        return float((self.edit_cells & self.keep_cells).sum() / self.edit_cells.sum())


def prepare(case: Case, parameters: Parameters, backbone: Backbone) -> Prepared:
    """Check a case and draw its masks; the diffusion has not begun.

    Raises
    ------
    PromptError
        A prompt is empty, too long, or holds words the model does not know.
    MaskError
        A mask cannot be drawn, or leaves nothing to edit.
    FilmError
        The film shows all the values that it has in one grey.
    RadEditError, DicomError
        A mask's source or the film's presentation fails.
    """
    film, request = case.film, case.request
    backbone.check_prompt(request.prompt)
    if request.invert_prompt:
        backbone.check_prompt(request.invert_prompt, "inversion prompt")
    frame = masks.Frame(*film.shape, film.spacing_mm)
    drawn = _drawn(request.edit_mask, frame, case.sources)
    drawn, keep = masks.resolve(drawn, _drawn(request.keep_mask, frame, case.sources), frame)
    grid = SquareGrid(*film.shape, backbone.image_size)
    cells = int(backbone.latent_shape[-1])
    held, objects = _held(keep, parameters, grid)
    edit = drawn & ~held
    edit_cells, keep_cells = grid.mask_down(edit, cells), grid.mask_down(held, cells)
    if parameters.keep == "attenuation":  # held pixels stay whatever the model draws on their cells
        keep_cells &= ~edit_cells
    if not (edit_cells & ~keep_cells).any():
        raise MaskError(
            f"the edit mask lies so close to the keep mask that the model, whose cells are "
            f"{grid.side / cells:.0f} film pixels wide, has none left to edit; enlarge it or "
            "move the keep mask away."
        )
    display = to_display(film)
    stretch, contrast = stretched(display, ~film.padding)
    if contrast <= FLAT * (1 + 1e-9):
        raise FilmError(
            "The film's window or look-up table shows its pixels in one grey, so that nothing "
            "could be seen of an edit; have the window corrected."
        )
    image = grid.down(stretch) * 2 - 1
    lifted = None
    if objects.any():
        whole, image = image, lifted_off(image, objects)
        lifted = grid.up(whole - image) * np.float32(contrast / 2)
    if film.is_mirrored:
        image = np.ascontiguousarray(image[:, ::-1])
        edit_cells, keep_cells = edit_cells[:, ::-1].copy(), keep_cells[:, ::-1].copy()
    return Prepared(
        case=case,
        parameters=parameters,
        edit=edit,
        keep=keep,
        held=held,
        edit_cells=edit_cells,
        keep_cells=keep_cells,
        display=display,
        image=image,
        grid=grid,
        contrast=contrast,
        lifted=lifted,
    )


def _held(keep: Mask, parameters: Parameters, grid: SquareGrid) -> tuple[Mask, Mask]:
    """What keeps its values, bool [rows, cols], and what is lifted off, bool [S, S]."""
    objects = grid.mask_down(keep)
    if parameters.keep == "values":
        return keep, np.zeros_like(objects)
    wide = wide_parts(objects)
    return keep & (grid.up(wide.astype(np.float32)) > 0), objects & ~wide


def _drawn(expression: str | None, frame: masks.Frame, sources: masks.Sources) -> Mask | None:
    if expression is None:
        return None
    return masks.evaluate(parse(expression), frame, sources)
