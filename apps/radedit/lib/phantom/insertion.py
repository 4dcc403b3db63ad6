"""Findings and devices put into a real film by physics; the film before is the truth.

What a finding takes and gives in millimetres of lung, water, air, plastic and metal is worked out
in a chest laid over the film (`fitted`), turned into optical depth by the phantom's beam, and
added to the film in the domain where attenuation adds (`response`). Blur and noise are the film's
own. Everything follows from the film, its outlines, what is put in, and the seeds of those.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import distance_transform_edt, gaussian_filter, grey_opening

from radedit.lib.errors import ParameterError
from radedit.lib.phantom import response
from radedit.lib.phantom.body import Mask
from radedit.lib.phantom.chest import Chest
from radedit.lib.phantom.devices import DEVICES, Device, hardware
from radedit.lib.phantom.findings import Change, Finding
from radedit.lib.phantom.fitted import fit_chest
from radedit.lib.phantom.inserted_findings import INSERTED, inserted
from radedit.lib.phantom.matter import Beam, transmit
from radedit.lib.phantom.rays import Map
from radedit.lib.phantom.response import Response, grey, level
from radedit.lib.phantom.sentences import device_phrase, finding_phrase

HALO_MM = 12.0  # beyond a mask, within which its faint border may still change the film
VESSEL_MM = 4.5  # what is thinner and whiter than its surroundings counts as vessel
WALL_MM = 110.0  # of soft tissue in front of and behind every lung: hardens the beam
BEAM = Beam(110.0, 3.0)


@dataclass(frozen=True)
class Site:
    """A film that something can be put into; see `look_at`.

    Attributes
    ----------
    display : float32 [R, C], 0 to 1, 1 = white, the patient's left on the right
    valid : bool [R, C], True = a measured pixel, no padding
    chest : laid over it
    response : measured on it
    vessels : float32 [R, C], what small vessels add to `response.level`
    """

    display: Map
    valid: Mask
    chest: Chest
    response: Response
    vessels: Map


@dataclass(frozen=True)
class Insertion:
    """A film with something in it.

    Attributes
    ----------
    image : float32 [R, C], 0 to 1; equal to the film's display outside `support`
    masks : kind of finding or device to bool [R, C], True = where it shows
    support : bool [R, C], every mask and `HALO_MM` around it: where the film may differ
    sentence : in the words of the embedded models
    severity : kind to extent, 0 (small) to 1 (large), of each finding
    """

    image: Map
    masks: Mapping[str, Mask]
    support: Mask
    sentence: str
    severity: Mapping[str, float]


def look_at(
    display: Map,
    outlines: Mapping[str, Mask],
    spacing_mm: float | None = None,
    valid: Mask | None = None,
) -> Site:
    """Measure a film once for any number of insertions.

    Parameters
    ----------
    display : float32 [R, C], 0 to 1, 1 = white, the patient's left on the right
    outlines : "left", "right", "heart", as `lungs.segment_lungs` gives them
    spacing_mm : between pixels; None = unknown
    valid : bool [R, C], True = a measured pixel; all unless told

    Raises
    ------
    FilmError
        The outlines or the contrast are no chest's; see `fit_chest` and `response.measure`.
    """
    chest = fit_chest(outlines, spacing_mm)
    lungs = outlines["left"] | outlines["right"]
    valid = np.ones(display.shape, dtype=bool) if valid is None else valid
    measured = response.measure(
        display, lungs & valid, outlines["heart"] & valid, _abdomen(chest, lungs) & valid
    )
    return Site(display, valid, chest, measured, _vessels(display, chest, lungs))


def insert(
    site: Site, findings: Sequence[Finding], devices: Sequence[Device] = (), *, seed: int = 0
) -> Insertion:
    """Put findings and devices into a film.

    Parameters
    ----------
    site : the film
    findings : each kind once at most; "side", "zone", "extent" and "seed" as in the phantom
    devices : each kind once at most
    seed : of the noise and the wording

    Raises
    ------
    ParameterError
        Nothing is to be put in, a kind is there twice, or it is unknown.
    """
    kinds = [f.kind for f in findings] + [d.kind for d in devices]
    unknown = sorted({*kinds} - {*INSERTED, *DEVICES})
    if not kinds or unknown or len(set(kinds)) < len(kinds):
        raise ParameterError(
            f"Asked was for {', '.join(kinds) or 'nothing'}; name each thing once, out of "
            f"{', '.join((*INSERTED, *DEVICES))}."
        )
    chest = site.chest
    changes = {f.kind: inserted(f, chest) for f in findings}
    added = {d.kind: hardware(d, chest) for d in devices}
    masks = {kind: change.mask & site.valid for kind, change in changes.items()}
    masks.update({kind: each.mask & site.valid for kind, each in added.items()})
    paths = [dict(each.paths) for each in added.values()]
    gained = optical_depth(chest, list(changes.values()), paths)
    lost = vessels_lost(chest, list(changes.values())) * site.vessels
    shown = level(site.display)
    blur = site.response.blur_px
    pixel = chest.rays.view.spacing / chest.rays.view.magnification
    change = site.response.change(
        shown, response.as_shown(gaussian_filter(gained, blur), pixel)
    ) - gaussian_filter(lost, 0.5)
    everywhere = np.logical_or.reduce(list(masks.values()))
    change = change * _fading(everywhere, pixel) * site.valid
    image = site.display + (grey(shown + change) - grey(shown))
    image = image + _noise(site, image, change, np.random.default_rng([seed, 0x9015E]))
    support = (change != 0) & site.valid
    image = np.where(support, np.clip(image, 0, 1), site.display)
    return Insertion(
        np.asarray(image, "f4"), masks, support, _sentence(findings, devices, seed),
        {finding.kind: finding.extent for finding in findings},
    )  # fmt: skip


def optical_depth(
    chest: Chest, changes: Sequence[Change], hardware: Sequence[Mapping[str, Map]]
) -> Map:
    """What findings and devices together add to the film's optical depth, float32 [R, C].

    Findings share the lung along a ray: what one has filled another cannot fill again.
    """
    lung = chest.lung["left"] + chest.lung["right"]
    aerated, line = lung.copy(), np.zeros_like(lung)
    solid = np.zeros_like(lung)
    for change in changes:
        if change.soft is not None:
            filled = np.minimum(change.soft, aerated)
            solid, aerated = solid + filled, aerated - filled
    for change in changes:
        if change.air is not None:
            aerated = aerated * (1 - change.air)
        if change.line is not None:
            line = line + change.line
    wall = np.full_like(lung, WALL_MM)
    after: dict[str, Map] = {"soft": wall + solid + line, "lung": aerated}
    for paths in hardware:
        for material, path in paths.items():
            after[material] = np.asarray(after.get(material, np.float32(0)) + path, "f4")
    before = transmit({"soft": wall, "lung": lung}, BEAM)
    return np.asarray(np.log(before) - np.log(transmit(after, BEAM)), "f4")


def vessels_lost(chest: Chest, changes: Sequence[Change]) -> Map:
    """Share, 0 to 1, of the small vessels that fluid or free air has made invisible."""
    lung = np.maximum(chest.lung["left"] + chest.lung["right"], 1.0)
    kept = np.ones_like(lung)
    for change in changes:
        if change.soft is not None:
            kept = kept * (1 - np.clip(change.soft / lung, 0, 1))
        if change.air is not None:
            kept = kept * (1 - np.clip(change.air / np.maximum(change.air.max(), 1e-6), 0, 1))
    return np.asarray(1 - kept, "f4")


def _abdomen(chest: Chest, lungs: Mask) -> Mask:
    """What lies 15 to 60 mm under the domes, off the spine and the side wall."""
    body = chest.body
    x = np.abs(chest.x - body.midline)
    under = chest.y - max(body.dome_left, body.dome_right)
    off = (x > 0.25 * body.cage_half_width) & (x < 0.7 * body.cage_half_width)
    return np.asarray((under > 15) & (under < 60) & off & ~lungs)


def _vessels(display: Map, chest: Chest, lungs: Mask) -> Map:
    """Thin white structures over the lungs, in level: what a grey opening takes away.

    The cortex of a rib is thin as well and goes with them; the rib's body stays.
    """
    shown = level(display)
    pixel = chest.rays.view.spacing / chest.rays.view.magnification
    reach = max(1, round(VESSEL_MM / pixel / 2))
    axis = np.arange(-reach, reach + 1)
    disc = axis[:, None] ** 2 + axis[None] ** 2 <= (reach + 0.3) ** 2
    smooth = gaussian_filter(shown, 0.25 * reach)
    thin = np.maximum(smooth - gaussian_filter(grey_opening(smooth, footprint=disc), reach / 2), 0)
    return np.asarray(0.8 * thin * gaussian_filter(lungs.astype("f4"), reach), "f4")


def _fading(mask: Mask, pixel: float) -> Map:
    """1 on a mask, falling to 0 over the halo."""
    far = distance_transform_edt(~mask) * pixel
    t = np.clip(far / HALO_MM, 0, 1)
    return np.asarray(1 - t * t * (3 - 2 * t), "f4")


def _noise(site: Site, image: Map, change: Map, rng: np.random.Generator) -> Map:
    """What the film's noise lacks where it became darker or whiter.

    A change of level by itself scales the noise that is there; the film has another at that grey.
    """
    film, measured = site.display, site.response
    slope = np.clip(image * (1 - image), 1e-4, None) / np.clip(film * (1 - film), 1e-4, None)
    have = measured.noise_at(film) * slope
    lacking = np.sqrt(np.maximum(measured.noise_at(image) ** 2 - have**2, 0))
    grain = gaussian_filter(rng.standard_normal(film.shape, "f4"), measured.blur_px)
    grain = grain / max(float(grain.std()), 1e-6)
    return np.asarray(lacking * grain * (np.abs(change) > 1e-3), "f4")


def _sentence(findings: Sequence[Finding], devices: Sequence[Device], seed: int) -> str:
    rng = np.random.default_rng([seed, 0x7E47])
    parts = [finding_phrase(finding, rng) for finding in findings]
    parts += [device_phrase(device, rng) for device in devices]
    text = " and ".join(parts)
    return text[0].upper() + text[1:]
