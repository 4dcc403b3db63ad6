"""How far an outline is from the truth, by MONAI's definitions, with lengths in mm.

Dice is the overlap; HD95 the larger of both directions' 95th percentile of surface distances;
ASSD the mean of all surface distances of both directions (MONAI's symmetric average).
"""

from __future__ import annotations

import warnings

from radedit.lib.stress.subjects import Mask


def outline_measures(
    found: Mask, truth: Mask, spacing_mm: tuple[float, float] | None
) -> dict[str, float | None]:
    """Compare an outline with the truth.

    Parameters
    ----------
    found, truth : bool [rows, cols]
    spacing_mm : of rows and columns; None or 0 = not known

    Returns
    -------
    `dice`, 0 to 1, and `hd95_mm`, `assd_mm`: None where the spacing is not known or one of the
    outlines is empty, since there is no distance then
    """
    import torch
    from monai.metrics.hausdorff_distance import compute_hausdorff_distance
    from monai.metrics.meandice import compute_dice
    from monai.metrics.surface_distance import compute_average_surface_distance

    one, other = (torch.from_numpy(mask)[None, None] for mask in (found, truth))
    dice = float(compute_dice(one, other, ignore_empty=False)[0, 0])
    measurable = spacing_mm is not None and min(spacing_mm) > 0 and found.any() and truth.any()
    if not measurable or spacing_mm is None:
        return {"dice": dice, "hd95_mm": None, "assd_mm": None}
    spacing = list(spacing_mm)
    with warnings.catch_warnings():
        # MONAI calls a function of its own in a way that it has deprecated.
        warnings.filterwarnings("ignore", ".*always_return_as_numpy", FutureWarning)
        hd95 = compute_hausdorff_distance(
            one, other, include_background=True, percentile=95, spacing=spacing
        )
        assd = compute_average_surface_distance(
            one, other, include_background=True, symmetric=True, spacing=spacing
        )
    return {"dice": dice, "hd95_mm": float(hd95[0, 0]), "assd_mm": float(assd[0, 0])}
