"""Did an edit change the film as the words changed? Directional similarity of two embeddings.

    S = cos(E_I(edit) - E_I(real), E_T(edit text) - E_T(real text))

E_I and E_T are the image and the text half of one dual encoder, both on the unit sphere.
S is 1 where the film moved as the text did, 0 where it moved elsewhere, -1 where it moved
back. An edit counts as good from KEEP_FROM on.

The paper (arXiv 2312.12865, eq. 5) prints 1 - cos(...) for its score and throws away what is
*below* 0.2. 1 - cos is the loss of StyleGAN-NADA (arXiv 2108.00946): small is good there.
Taken by the letter the filter would keep the worst edits, so here the score is the cosine.

Where one of the two differences is about zero there is no direction to compare. Such an edit
is not scorable: it gets the reason and never a number.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from radedit.lib.errors import PromptError

Film = NDArray[np.float32]
Embedding = NDArray[np.float32]

KEEP_FROM: Final = 0.2
"""The smallest directional similarity of an edit that is kept (the paper, section 4.4)."""
LANCE_IMAGE_IMAGE: Final = 0.7
"""LANCE's filter (arXiv 2305.19164): the edit still looks like the film it came from."""
LANCE_IMAGE_TEXT: Final = 0.2
"""LANCE's filter: the edit looks like its own text."""
_NO_DIRECTION: Final = 1e-3  # length, on the unit sphere, under which a difference is noise

NO_FILM_TEXT: Final = "not scorable: no text says what the film shows before the edit"
NO_TEXT_CHANGE: Final = "not scorable: the edit's text and the film's text mean the same"
NO_FILM_CHANGE: Final = "not scorable: the scorer sees no difference between film and edit"


class DualEncoder(Protocol):
    """An image and a text encoder that share one space; D is the same for both."""

    def embed_image(self, film: Film) -> Embedding:
        """Embed a film: float32 [H, W], 0 = black to 1 = white, no padding; float32 [D]."""
        ...

    def embed_text(self, text: str) -> Embedding:
        """Embed a sentence: float32 [D].

        Raises
        ------
        PromptError
            The encoder cannot read it; one sentence.
        """
        ...


@dataclass(frozen=True)
class Directional:
    """How well an edit follows its text; all figures -1 to 1, None where there is none.

    Attributes
    ----------
    directional : the score S
    image_image : cosine of the film's and the edit's embedding
    image_text : cosine of the edit's embedding and that of its text
    reason : why `directional` is None ("not scorable: ..." or "not scored: ..."); else ""
    """

    directional: float | None = None
    image_image: float | None = None
    image_text: float | None = None
    reason: str = "not scored: no scorer was asked"

    @property
    def is_kept(self) -> bool | None:
        """Whether the edit passes the paper's filter; None = not scorable."""
        return None if self.directional is None else self.directional >= KEEP_FROM

    @property
    def is_kept_by_lance(self) -> bool | None:
        """Whether it passes LANCE's filter, but for the consistent prediction of a classifier."""
        if self.directional is None or self.image_image is None or self.image_text is None:
            return None
        likeness = self.image_image >= LANCE_IMAGE_IMAGE and self.image_text >= LANCE_IMAGE_TEXT
        return likeness and self.directional >= KEEP_FROM

    def as_scores(self) -> dict[str, float | None]:
        """Every figure by name, for the report."""
        return {
            "directional_similarity": self.directional,
            "image_image_similarity": self.image_image,
            "image_text_similarity": self.image_text,
        }

    def in_words(self) -> str:
        """The score with three decimals, or why there is none."""
        return self.reason if self.directional is None else f"{self.directional:.3f}"


def score(
    encoder: DualEncoder, films: tuple[Film, Film], texts: tuple[str | None, str]
) -> Directional:
    """Score one edit.

    Parameters
    ----------
    films : the film and the edit, each float32 [H, W], 0 to 1
    texts : what the film shows (None or empty = not known) and what the edit shall show
    """
    try:
        edit_text = _unit(encoder.embed_text(texts[1]))
        film_text = _unit(encoder.embed_text(texts[0])) if texts[0] else None
    except PromptError as error:
        return Directional(reason=f"not scorable: {error}")
    film, edit = (_unit(encoder.embed_image(image)) for image in films)
    image_image, image_text = _cosine(film, edit), _cosine(edit, edit_text)
    if film_text is None:
        return Directional(None, image_image, image_text, NO_FILM_TEXT)
    said, seen = edit_text - film_text, edit - film
    if np.linalg.norm(said) < _NO_DIRECTION:
        return Directional(None, image_image, image_text, NO_TEXT_CHANGE)
    if np.linalg.norm(seen) < _NO_DIRECTION:
        return Directional(None, image_image, image_text, NO_FILM_CHANGE)
    return Directional(_cosine(_unit(seen), _unit(said)), image_image, image_text, "")


def _unit(vector: NDArray[np.floating]) -> NDArray[np.float64]:
    wide = np.asarray(vector, np.float64)
    length = float(np.linalg.norm(wide))
    if not np.isfinite(length) or length == 0:
        raise ValueError(f"an embedding has the length {length}; a dual encoder never gives that")
    return np.asarray(wide / length)


def _cosine(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    return float(np.clip(a @ b, -1, 1))
