"""What matter does to the beam: NIST attenuation, a tube's spectrum, a detector's response.

Mass attenuation coefficients: NIST Standard Reference Database 126 (Hubbell and Seltzer,
"Tables of X-Ray Mass Attenuation Coefficients"), materials of ICRU Report 44. The tests
compare them with an independent tabulation of the elements.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from radedit.lib.phantom.rays import Map

ENERGY_KEV = (30.0, 40.0, 50.0, 60.0, 80.0, 100.0)
MASS_ATTENUATION: Mapping[str, tuple[float, ...]] = {  # cm2/g at ENERGY_KEV
    "soft": (0.3790, 0.2688, 0.2264, 0.2048, 0.1823, 0.1693),
    "fat": (0.3063, 0.2396, 0.2123, 0.1974, 0.1800, 0.1688),
    "lung": (0.3815, 0.2699, 0.2270, 0.2053, 0.1826, 0.1695),
    "bone": (1.331, 0.6655, 0.4242, 0.3148, 0.2229, 0.1855),
    "metal": (4.972, 2.214, 1.213, 0.7661, 0.4052, 0.2721),  # titanium
    "barium": (9.904, 24.57, 13.79, 8.511, 3.963, 2.196),
    "aluminium": (1.128, 0.5685, 0.3681, 0.2778, 0.2018, 0.1704),
    "caesium iodide": (9.045, 22.97, 12.87, 7.921, 3.677, 2.035),
}
DENSITY: Mapping[str, float] = {  # g/cm3
    "soft": 1.06,
    "fat": 0.95,
    "lung": 0.26,
    "bone": 1.92,
    "metal": 4.54,
    "barium": 0.35,  # as a filler in a catheter's stripe, about 0.6 g/cm3 of its sulphate
    "aluminium": 2.699,
    "caesium iodide": 4.51,
}


@dataclass(frozen=True)
class Beam:
    """A beam quality.

    Attributes
    ----------
    kvp : tube voltage, 100 to 125
    filtration_mm : aluminium in the beam, inherent and added
    """

    kvp: float = 120.0
    filtration_mm: float = 3.5

    def spectrum(self) -> NDArray[np.float64]:
        """Share of the detected signal at each of ENERGY_KEV, without a patient; sums to 1.

        Kramers' law for thick-target bremsstrahlung (energy fluence falls linearly to the
        tube voltage), filtered, weighted by what 0.5 mm of caesium iodide absorbs.
        """
        energy = np.asarray(ENERGY_KEV)
        width = np.gradient(energy)
        fluence = np.clip(self.kvp - energy, 0, None)
        fluence = fluence * np.exp(-linear("aluminium") * self.filtration_mm)
        signal = fluence * (1 - np.exp(-linear("caesium iodide") * 0.5)) * width
        return np.asarray(signal / signal.sum())

    def half_value_layer(self) -> float:
        """Aluminium that halves the detected signal, mm."""
        spectrum, mu = self.spectrum(), linear("aluminium")
        low, high = 0.0, 50.0
        for _ in range(60):
            middle = (low + high) / 2
            if float(spectrum @ np.exp(-mu * middle)) > 0.5:
                low = middle
            else:
                high = middle
        return low


def linear(material: str) -> NDArray[np.float64]:
    """Linear attenuation per mm at ENERGY_KEV."""
    return np.asarray(MASS_ATTENUATION[material]) * DENSITY[material] / 10


def transmit(paths: Mapping[str, Map], beam: Beam) -> Map:
    """Share of the detected signal left behind the given path lengths (mm) of each material."""
    out = np.zeros_like(next(iter(paths.values())))
    per_energy = {material: linear(material) for material in paths}
    for i, share in enumerate(beam.spectrum()):
        depth = sum(np.float32(per_energy[m][i]) * path for m, path in paths.items())
        out += np.float32(share) * np.exp(-np.asarray(depth))
    return np.asarray(out, "f4")
