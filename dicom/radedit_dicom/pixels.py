"""Between stored values and what a reader sees, in both directions.

A film is shown through a chain (PS3.3 C.11): modality LUT or rescale, VOI LUT or window,
presentation LUT shape, and MONOCHROME1 turns black and white round. Here the whole chain
is one tabulated function g from stored value to display intensity, so that polarity is
decided in one place, and so that an edit made on the display can be taken back to stored
values through the inverse of the same table.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from radedit_dicom.errors import UnsupportedImageError
from radedit_dicom.film import MAX_PIXELS, Film, Stored, read_film, stored_range
from radedit_dicom.lut import modality_values, voi_values

__all__ = [
    "MAX_PIXELS",
    "Film",
    "Presentation",
    "Stored",
    "apply_display_delta",
    "display_sha256",
    "presentation_table",
    "read_film",
    "stored_range",
    "to_display",
]


@dataclass(frozen=True, eq=False)
class Presentation:
    """The display function g of one film, tabulated.

    Attributes
    ----------
    first : int
        Stored value of the first entry.
    table : float64 [number of legal stored values]
        g, monotone, in [0, 1]; 1 = white on the monitor (dense tissue on a chest film).
    window : (float, float) or None
        Centre and width of the window that was made up (the range of the film's pixels,
        in modality units) because the film has neither window nor VOI LUT; else None.
    inverted : bool
        True when the film turns black and white round (MONOCHROME1).
    """

    first: int
    table: NDArray[np.float64]
    window: tuple[float, float] | None
    inverted: bool

    @property
    def before_polarity(self) -> NDArray[np.float64]:
        """`table` as it is before black and white are turned round (float64 [n] in [0, 1])."""
        return np.asarray(1.0 - self.table if self.inverted else self.table, dtype=np.float64)


def presentation_table(film: Film) -> Presentation:
    """Tabulate the display function of a film.

    The first VOI LUT is used, else the first window, as a viewer opens the film; also when
    it clips much of the film, because that is what a reader of this film gets to see.
    Without either, the range of the pixels that are not padding.

    Parameters
    ----------
    film : Film

    Returns
    -------
    Presentation

    Raises
    ------
    UnsupportedImageError
        The chain is contradictory, not monotone, or flat, so that an edit on the display
        could not be taken back to stored values.

    Notes
    -----
    Source: PS3.3 C.11.1 (modality), C.11.2 (VOI), C.11.6 (presentation LUT shape), C.7.6.3.1.2
    (photometric interpretation).
    """
    low, high = film.stored_range
    values = modality_values(film.header, np.arange(low, high + 1, dtype=np.int64))
    shown, window = voi_values(film.header, values, lambda: _used_range(film, values))
    inverted = _is_inverted(film)
    table = _monotone(1.0 - shown if inverted else shown)
    return Presentation(first=low, table=table, window=window, inverted=inverted)


def display_sha256(film: Film) -> str:
    """SHA-256 over how the film is shown: its display function, padding, and side.

    All that an edit takes from a film beside its stored values and spacing. A corrected window,
    say, makes another edit of the same pixels.

    Raises
    ------
    UnsupportedImageError
        As `presentation_table`.
    """
    shown = presentation_table(film)
    # In millionths: the last digits of a table, where it is no straight window, are the machine's.
    table = np.rint(shown.table * 1e6).astype("<i4")
    digest = hashlib.sha256(f"radedit-display-1 {shown.first} {film.is_mirrored}\n".encode())
    digest.update(table.tobytes())
    digest.update(np.packbits(film.padding).tobytes())
    return digest.hexdigest()


def to_display(film: Film, stored: Stored | None = None) -> NDArray[np.float32]:
    """Show a film as a reader sees it.

    Parameters
    ----------
    film : Film
    stored : as ``film.stored``, optional
        Other values to be shown as the film is, such as those of its edit: a window that was made
        up from the film's own values stays the film's.

    Returns
    -------
    float32 [rows, columns] in [0, 1]
        1 = white on the monitor, whatever the film's photometric interpretation. Padding, which
        no look-up table applies to (PS3.3 C.7.5.1.1.2), is 0.

    Raises
    ------
    UnsupportedImageError
        As `presentation_table`.
    """
    shown = presentation_table(film)
    table = shown.table.astype(np.float32)
    values = film.stored if stored is None else stored
    display = np.asarray(table[values.astype(np.intp) - shown.first], dtype=np.float32)
    display[film.padding] = 0.0
    return display


def apply_display_delta(film: Film, delta: NDArray[np.float32]) -> Stored:
    """Add a change made on the display to the stored values.

    With g the display function, a stored value s becomes
    ``s + inverse(clip(g(s) + delta)) - inverse(g(s))``, rounded and kept legal. The
    difference, and not ``inverse(g(s) + delta)`` alone, keeps the texture of what the window
    clips, and keeps steps of the table from being written into the film.

    Parameters
    ----------
    film : Film
    delta : float32 [rows, columns]
        Change of display intensity; 0 = leave the pixel alone.

    Returns
    -------
    uint16 or int32 [rows, columns]
        As ``film.stored``: identical, bit for bit, where `delta` is 0 and where the film is
        padding; everywhere within ``film.stored_range``, and never a padding value.

    Raises
    ------
    UnsupportedImageError
        As `presentation_table`.
    ValueError
        `delta` has another shape than the film, or is not finite.
    """
    if delta.shape != film.shape:
        raise ValueError(f"delta is {delta.shape}, the film {film.shape}")
    if not np.isfinite(delta).all():
        raise ValueError("delta is not finite everywhere")
    shown = presentation_table(film)
    touched = (delta != 0) & ~film.padding
    before = film.stored[touched].astype(np.int64)
    level = shown.table[before - shown.first]
    ordinates, abscissae = _inverse(shown)
    origin = np.interp(level, ordinates, abscissae)
    wanted = np.clip(level + delta[touched], 0.0, 1.0)
    change = np.interp(wanted, ordinates, abscissae) - origin
    after = np.rint(before + change).astype(np.int64)
    result = film.stored.copy()
    result[touched] = _legal(film, before, after).astype(result.dtype)
    return result


def _is_inverted(film: Film) -> bool:
    """Decide polarity: True when low values after the VOI step are shown white.

    MONOCHROME1 and presentation LUT shape INVERSE say the same thing and never invert
    twice; when they contradict each other (PS3.3 C.11.6 forbids it) nobody can know.
    """
    inverted = film.photometric == "MONOCHROME1"
    shape = str(film.header.get("PresentationLUTShape", "") or "")
    if shape and shape != ("INVERSE" if inverted else "IDENTITY"):
        raise UnsupportedImageError(
            f"The photometric interpretation is {film.photometric}, but the presentation LUT "
            "shape contradicts it, so black and white cannot be told apart; "
            "have the film exported again."
        )
    return inverted


def _used_range(film: Film, values: NDArray[np.float64]) -> tuple[float, float]:
    used = film.stored[~film.padding]
    if used.size == 0:
        raise UnsupportedImageError(
            "Every pixel of the film is padding, so there is nothing to show; choose another film."
        )
    first = film.stored_range[0]
    ends = values[int(used.min()) - first], values[int(used.max()) - first]
    return float(min(ends)), float(max(ends))


def _monotone(table: NDArray[np.float64]) -> NDArray[np.float64]:
    """Make the table exactly monotone, forgiving steps back of one 8-bit grey level."""
    table = np.clip(table, 0.0, 1.0)
    rising = table[-1] >= table[0]
    ascending = table if rising else table[::-1]
    smooth = np.maximum.accumulate(ascending)
    if float(np.max(smooth - ascending)) > 1.0 / 255.0:
        raise UnsupportedImageError(
            "The film's look-up table goes up and down, so that one grey stands for several "
            "densities and an edit could not be stored; choose a film with a monotone table."
        )
    if smooth[-1] - smooth[0] < 1.0 / 255.0:
        raise UnsupportedImageError(
            "The film's window or look-up table shows every pixel in one grey, so that nothing "
            "could be edited; have the window corrected."
        )
    return np.asarray(smooth if rising else smooth[::-1], dtype=np.float64)


def _inverse(shown: Presentation) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Support points (display, stored) of the inverse of g, display strictly rising.

    A run of equal values stands for its middle; the runs at both ends (what the window
    clips) for their inner edge, so that the smallest change leaves the clipped range.
    """
    rising = shown.table[-1] >= shown.table[0]
    table = shown.table if rising else shown.table[::-1]
    ordinates, start, count = np.unique(table, return_index=True, return_counts=True)
    middle = start + (count - 1) / 2.0
    middle[0] = start[0] + count[0] - 1
    middle[-1] = start[-1]
    position = middle if rising else len(table) - 1 - middle
    return ordinates, np.asarray(position + shown.first, dtype=np.float64)


def _legal(film: Film, before: NDArray[np.int64], after: NDArray[np.int64]) -> NDArray[np.int64]:
    """Keep values within range and beside, never inside, the padding range."""
    low, high = film.stored_range
    after = np.clip(after, low, high)
    span = film.padding_range
    if span is not None:
        below, above = before < span[0], before > span[1]
        after = np.where(below & (after >= span[0]), span[0] - 1, after)
        after = np.where(above & (after <= span[1]), span[1] + 1, after)
    return np.asarray(after, dtype=np.int64)
