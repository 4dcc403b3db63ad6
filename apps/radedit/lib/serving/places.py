"""Where the viewers' files are: our own in viewers/, OHIF as set-up fetched it."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[2]
_CHECKOUT = _PACKAGE.parents[1]


def viewer_folder(name: str) -> Path:
    """Give the folder of one of our viewers, such as "ohif" or "review".

    Parameters
    ----------
    name : a folder in viewers/, of the installed package or else of the checkout

    Returns
    -------
    its path, whether it is there or not
    """
    packaged = _PACKAGE / "viewers" / name
    return packaged if packaged.is_dir() else _CHECKOUT / "viewers" / name


def ohif_folder() -> Path:
    """Give the folder that scripts/fetch-ohif puts the OHIF viewer into."""
    return _CHECKOUT / ".cache" / "ohif"
