"""Attenuation against an independent tabulation, and Beer and Lambert's law."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import xraydb
from hypothesis import given
from hypothesis import strategies as st

from radedit.lib.phantom import matter
from radedit.lib.phantom.matter import DENSITY, ENERGY_KEV, MASS_ATTENUATION, Beam, transmit

# Mass fractions: ICRU Report 44, soft tissue, adipose tissue, inflated lung, cortical bone.
COMPOSITION = {
    "soft": {"H": 0.102, "C": 0.143, "N": 0.034, "O": 0.708, "Na": 0.002, "P": 0.003,
             "S": 0.003, "Cl": 0.002, "K": 0.003},
    "fat": {"H": 0.114, "C": 0.598, "N": 0.007, "O": 0.278, "Na": 0.001, "S": 0.001,
            "Cl": 0.001},
    "lung": {"H": 0.103, "C": 0.105, "N": 0.031, "O": 0.749, "Na": 0.002, "P": 0.002,
             "S": 0.003, "Cl": 0.003, "K": 0.002},
    "bone": {"H": 0.034, "C": 0.155, "N": 0.042, "O": 0.435, "Na": 0.001, "Mg": 0.002,
             "P": 0.103, "S": 0.003, "Ca": 0.225},
    "metal": {"Ti": 1.0},
    "barium": {"Ba": 1.0},
    "aluminium": {"Al": 1.0},
    "caesium iodide": {"Cs": 0.5115, "I": 0.4885},
}  # fmt: skip
TOLERANCE = 0.04  # the tabulations themselves differ by so much
beams = st.builds(Beam, st.floats(100, 125), st.floats(2.5, 5))


def column(*values: float) -> np.ndarray:
    return np.array([values], "f4")


@pytest.mark.parametrize("material", COMPOSITION)
def test_attenuation_is_that_of_another_tabulation_of_the_elements(material: str) -> None:
    energies = np.array(ENERGY_KEV) * 1000
    expected = sum(
        share * xraydb.mu_elam(element, energies)
        for element, share in COMPOSITION[material].items()
    )
    assert sum(COMPOSITION[material].values()) == pytest.approx(1, abs=0.002)
    np.testing.assert_allclose(MASS_ATTENUATION[material], expected, rtol=TOLERANCE)


def test_every_material_has_a_composition_to_be_compared_with_and_a_density() -> None:
    assert COMPOSITION.keys() == MASS_ATTENUATION.keys() == DENSITY.keys()


@pytest.mark.parametrize(("material", "expected"), [("aluminium", 2.70), ("metal", 4.51)])
def test_the_densities_of_metals_are_the_handbooks(material: str, expected: float) -> None:
    element = {"aluminium": "Al", "metal": "Ti"}[material]
    assert DENSITY[material] == pytest.approx(expected, rel=0.01)
    assert DENSITY[material] == pytest.approx(xraydb.atomic_density(element), rel=0.01)


@dataclass(frozen=True)
class OneLine(Beam):
    """A beam of one energy only, for which attenuation is exactly exponential."""

    line: int = 2

    def spectrum(self) -> np.ndarray:
        return np.eye(len(ENERGY_KEV))[self.line]


lengths = st.floats(0, 150)


@given(a=lengths, b=lengths, line=st.integers(0, 5), pair=st.permutations(["soft", "bone", "fat"]))
def test_at_one_energy_layers_multiply_in_any_order(
    a: float, b: float, line: int, pair: list[str]
) -> None:
    beam = OneLine(line=line)
    first, second = pair[:2]
    together = transmit({first: column(a), second: column(b)}, beam)
    one, other = transmit({first: column(a)}, beam), transmit({second: column(b)}, beam)
    np.testing.assert_allclose(together, one * other, rtol=1e-4, atol=1e-12)
    exact = np.exp(-matter.linear(first)[line] * a - matter.linear(second)[line] * b)
    np.testing.assert_allclose(together, exact, rtol=1e-4, atol=1e-12)


@given(beam=beams, a=st.floats(1, 150), b=st.floats(1, 150))
def test_a_real_beam_hardens_so_that_two_layers_let_more_through_than_their_product(
    beam: Beam, a: float, b: float
) -> None:
    both = float(transmit({"soft": column(a + b)}, beam)[0, 0])
    product = float(transmit({"soft": column(a, b)}, beam).prod())
    assert product * (1 - 1e-4) <= both < 1


@given(beams)
def test_the_half_value_layer_halves_the_signal_and_the_spectrum_is_one_of_shares(
    beam: Beam,
) -> None:
    left = transmit({"aluminium": column(beam.half_value_layer())}, beam)
    assert float(left[0, 0]) == pytest.approx(0.5, abs=1e-4)
    assert beam.spectrum().sum() == pytest.approx(1)
    assert (beam.spectrum() >= 0).all()


def test_voltage_and_filtration_make_a_beam_harder() -> None:
    layers = [Beam(kvp, mm).half_value_layer() for kvp, mm in ((100, 3), (120, 3), (120, 5))]
    assert layers == sorted(layers)
    assert layers[0] > 3.6  # IEC 60601-1-3 asks for that much at 100 kV, of the unweighted beam


def test_bone_and_metal_cast_shadows_on_tissue_and_air_lightens_it() -> None:
    beam = Beam()
    tissue = float(transmit({"soft": column(150)}, beam)[0, 0])
    for material, mm in (("bone", 3.0), ("metal", 1.0), ("barium", 1.0), ("fat", 5.0)):
        path = {"soft": column(150), material: column(mm)}
        assert float(transmit(path, beam)[0, 0]) < 0.99 * tissue, material
    assert float(transmit({"soft": column(140)}, beam)[0, 0]) > tissue
