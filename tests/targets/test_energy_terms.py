"""The energy by terms, and what a molecule is made of."""

import openmm
import pytest
from alanine import alanine_system, load, load_system

from onestep_md.targets import energy_terms
from onestep_md.targets.energy_terms import hill_formula, net_charge, split_energy

CASES = [
    {},
    {"forcefield": ("amber96.xml",)},
    {"pdb": "thymidine.pdb", "forcefield": ("amber14/DNA.OL15.xml", "implicit/obc2.xml")},
    {"pdb": "trialanine.pdb", "constraints": "hbonds"},
]


@pytest.mark.parametrize("changes", CASES)
def test_terms_add_up_to_the_energy(changes):
    molecule = load(**changes)
    total = sum(split_energy(molecule).values())
    assert total == pytest.approx(molecule.fingerprint.u_input, rel=1e-9)


def test_terms_of_forces_of_any_kind_add_up(tmp_path):
    system = alanine_system()
    extra = openmm.CustomBondForce("k*(r-0.5)^2")
    extra.addGlobalParameter("k", 3.0)
    extra.addBond(0, 20, [])
    system.addForce(extra)
    pair = openmm.HarmonicBondForce()  # of atoms that no bond connects
    pair.addBond(0, 10, 0.4, 50.0)
    system.addForce(pair)
    molecule = load_system(tmp_path, system)
    terms = split_energy(molecule)
    assert {"bonds", "Urey-Bradley", "CustomBondForce"} <= terms.keys()
    assert terms["bonds"] == pytest.approx(split_energy(load())["bonds"], rel=1e-12)
    assert sum(terms.values()) == pytest.approx(molecule.fingerprint.u_input, rel=1e-9)


def test_coulomb_is_what_charges_bring():
    terms, charged = split_energy(load()), load(forcefield=("amber99sbildn.xml",))
    assert terms["Coulomb"] == pytest.approx(split_energy(charged)["Coulomb"], rel=1e-12)
    assert terms["generalised Born"] < 0 and "CMAP" not in terms


def test_charge_and_formula():
    assert net_charge(load()) == pytest.approx(0.0, abs=1e-6)
    assert hill_formula(load().elements) == "C6H12N2O2"
    assert hill_formula(["O", "H", "H"]) == "H2O"
    assert hill_formula(["Cl", "C", "Br"]) == "CBrCl"
    assert energy_terms.hill_formula(["O", "C", "H", "H"]) == "CH2O"
