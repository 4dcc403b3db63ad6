"""The phantom's figures as pictures, and sheets of its films, alone or among real ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from radedit.lib.errors import NotFoundError, OutputError
from radedit.lib.phantom.credibility import (
    CLINICAL_DIAPHRAGM,
    CLINICAL_HEART,
    CLINICAL_RATIO,
    FIRST_SEED,
    LEAST_LAYER,
    Figures,
    Progress,
)
from radedit.lib.phantom.sentences import describe
from radedit.lib.phantom.world import (
    Patient,
    Studio,
    World,
    draw_patient,
    without,
    without_devices,
)
from radedit.lib.whole_files import replacing

Film = NDArray[np.float32]
SHEET_SIZE = 384  # pixels of a film's longer side on a sheet
COLUMNS, SHOWN = 4, 12
REAL = 6  # real films on the mixed sheet
ATTRIBUTION = (
    "Real films: Hannover Medical School, COVID-19 image repository (ml-workgroup), CC BY 3.0"
)
_ORDERS: tuple[tuple[str, str, tuple[str, ...]], ...] = (  # finding, site, devices
    ("", "north", ()),
    ("pneumothorax", "north", ("chest drain",)),
    ("", "ward", ("endotracheal tube", "central line", "ECG leads")),
    ("effusion", "ward", ("central line",)),
    ("consolidation", "harbour", ()),
    ("oedema", "ward", ("endotracheal tube",)),
    ("mass", "north", ()),
    ("nodule", "harbour", ()),
    ("cardiomegaly", "north", ("pacemaker",)),
    ("atelectasis", "ward", ()),
    ("pneumothorax", "harbour", ()),
)
_PAIR = 1  # of the orders: its true counterfactual is shown behind it


def draw(figures: Figures, out: Path, films: Path | None, progress: Progress) -> list[Path]:
    """Draw the figures and the contact sheets.

    Parameters
    ----------
    figures : Figures
    out : folder, made if missing
    films : folder of real films, PNG, itself or its `images/`; None: no mixed sheet
    progress : called with films done and to do

    Returns
    -------
    list of Path
        `phantom-credibility.png`, `phantom-contact-sheet.png` and, with real films,
        `phantom-among-real-films.png`.

    Raises
    ------
    NotFoundError
        The folder of real films holds too few.
    OutputError
        A picture cannot be written.
    """
    real = [] if films is None else _real_films(films)
    drawn = {"phantom-credibility.png": _figures(figures)}
    shown = []
    for done, (film, title) in enumerate(_phantoms(), 1):
        shown.append((film, title))
        progress(done, SHOWN)
    drawn["phantom-contact-sheet.png"] = _sheet(shown, "")
    if real:
        phantoms = [film for film, _ in shown[2 : 2 + SHOWN - len(real)]]
        mixed = [film for pair in zip_longest(phantoms, real) for film in pair if film is not None]
        order = np.random.default_rng(FIRST_SEED).permutation(len(mixed))
        lettered = [(mixed[i], "ABCDEFGHIJKL"[place]) for place, i in enumerate(order)]
        drawn["phantom-among-real-films.png"] = _sheet(lettered, ATTRIBUTION)
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, figure in drawn.items():
            with replacing(out / name) as stream:
                figure.savefig(stream, format="png", dpi=110)
    except OSError as error:
        raise OutputError(f"the pictures cannot be written ({error.strerror}).") from None
    return [out / name for name in drawn]


def _phantoms() -> Iterator[tuple[Film, str]]:
    for number, (finding, site, worn) in enumerate(_ORDERS):
        patient = _patient(FIRST_SEED + 400 + number, finding, site, worn)
        studio = Studio(patient, SHEET_SIZE)
        yield studio.render().image, _title(patient)
        if number == _PAIR:
            cured = without(patient)
            yield studio.render(cured).image, f"the same without it\n{_title(cured)}"


def _patient(seed: int, finding: str, site: str, worn: Sequence[str]) -> Patient:
    world = World(
        normal=0.0 if finding else 1.0,
        second=0.0,
        findings={finding or "mass": 1.0},
        sites={site: 1.0},
        drain_given_pneumothorax=float("chest drain" in worn),
        drain_otherwise=0.0,
        devices={kind: 1.0 for kind in worn if kind != "chest drain"},
    )
    patient = draw_patient(seed, world)
    large = tuple(replace(f, extent=max(f.extent, 0.55)) for f in patient.findings)
    return replace(patient, findings=large)  # on so small a picture


def _title(patient: Patient) -> str:
    bare = without_devices(patient)
    said = describe(bare, np.random.default_rng(patient.seed))
    worn = ", ".join(device.kind for device in patient.devices)
    site = f"{patient.exposure.site} {patient.exposure.projection}"
    return "\n".join(filter(None, (f"{site}: {said}", worn)))


def _real_films(folder: Path) -> list[Film]:
    inner = folder / "images"
    paths = sorted((inner if inner.is_dir() else folder).glob("*.png"))
    if len(paths) < REAL:
        raise NotFoundError(
            f"the folder of real films holds {len(paths)} PNG files, but {REAL} are needed; name "
            "another folder."
        )
    chosen = np.linspace(0, len(paths) - 1, REAL).round().astype(int)
    grey = [np.asarray(Image.open(paths[i]).convert("L")) for i in chosen]
    return [pixels.astype(np.float32) / np.float32(255) for pixels in grey]


def _sheet(films: Sequence[tuple[Film, str]], foot: str) -> Figure:
    rows = -(-len(films) // COLUMNS)
    figure = Figure(figsize=(3.4 * COLUMNS, 3.9 * rows), layout="constrained")
    axes = figure.subplots(rows, COLUMNS, squeeze=False)
    for place in axes.flat:
        place.set_axis_off()
    for place, (film, title) in zip(axes.flat, films, strict=False):
        place.imshow(film, cmap="gray", vmin=0, vmax=1)
        place.set_title(title, fontsize=8)
    if foot:
        figure.supxlabel(foot, fontsize=8)
    return figure


def _figures(figures: Figures) -> Figure:
    figure = Figure(figsize=(13, 7.5), layout="constrained")
    axes = figure.subplots(2, 3)
    panels = (
        (axes[0, 0], "cardiothoracic", "Cardiothoracic ratio", CLINICAL_RATIO),
        (axes[0, 1], "heart", "Signal behind the heart over lung", CLINICAL_HEART),
        (axes[0, 2], "diaphragm", "Signal below the diaphragm over lung", CLINICAL_DIAPHRAGM),
    )
    for place, name, title, clinical in panels:
        _spread(place, figures, name, title, clinical)
    _noise(axes[1, 0], figures)
    _sharpness(axes[1, 1], figures)
    _beam(axes[1, 2], figures)
    return figure


def _spread(place: Axes, figures: Figures, name: str, title: str, clinical: float) -> None:
    values = [[getattr(one, name) for one in films] for films in figures.anatomy.values()]
    place.boxplot(values, tick_labels=list(figures.anatomy), widths=0.5)
    word = "normal at most" if name == "cardiothoracic" else "clinical"
    place.axhline(clinical, color="tab:red", linestyle="--", label=f"{word} {clinical:.2f}")
    place.set_title(title)
    place.set_ylim(0, None)
    place.legend(loc="lower right")


def _noise(place: Axes, figures: Figures) -> None:
    for number, (site, d) in enumerate(figures.detectors.items()):
        colour = f"C{number}"
        place.semilogy(d.frequency, d.noise_power, color=colour, label=site)
        place.semilogy(d.frequency, d.noise_theory, color="black", linestyle=":", linewidth=1)
        place.semilogy(d.frequency, d.unblurred, color=colour, alpha=0.4, linewidth=1)
    place.set(xlabel="cycles/mm", ylabel="mm²", title="Noise power (pale: before detector blur)")
    place.legend(title="dotted: theory")


def _sharpness(place: Axes, figures: Figures) -> None:
    for number, (site, d) in enumerate(figures.detectors.items()):
        place.plot(d.edge_frequency, d.mtf, color=f"C{number}", label=site)
        place.plot(d.edge_frequency, d.mtf_theory, color="black", linestyle=":", linewidth=1)
    place.set(xlabel="cycles/mm", title="Modulation transfer, slanted edge", xlim=(0, 4))
    place.legend(title="dotted: Gaussian")


def _beam(place: Axes, figures: Figures) -> None:
    for number, (site, d) in enumerate(figures.detectors.items()):
        place.plot(d.kvp, d.half_value_mm, "o", color=f"C{number}", label=site)
    place.plot(
        list(LEAST_LAYER), list(LEAST_LAYER.values()), "r--", label="least, IEC 60601-1-3 (kerma)"
    )
    place.set(xlabel="tube voltage, kV", ylabel="mm Al", title="Half-value layer at the detector")
    place.set_ylim(0, None)
    place.legend()
