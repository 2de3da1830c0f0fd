"""Bond orders and formal charges by valence, of shipped molecules and of ions drawn by hand."""

from pathlib import Path

import openmm
import pytest
from openmm import unit

from onestep_md.config import load_config
from onestep_md.coordinates.bond_orders import find_bond_orders
from onestep_md.targets.molecule import load_molecule

FILES = sorted((Path(__file__).parents[2] / "systems" / "molecules").glob("*.yaml"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_formal_charges_sum_to_the_charge_of_the_force_field(path):
    config = load_config(path)
    molecule = load_molecule(config.molecule, config.folder)
    orders, charges = find_bond_orders(molecule.elements, molecule.bonds)
    system = openmm.XmlSerializer.deserialize(molecule.system_xml)
    (force,) = (f for f in system.getForces() if isinstance(f, openmm.NonbondedForce))
    partial = (force.getParticleParameters(i)[0] for i in range(len(molecule.elements)))
    total = sum(charge.value_in_unit(unit.elementary_charge) for charge in partial)
    assert sum(charges) == pytest.approx(total, abs=0.01)
    assert tuple(orders) == molecule.bonds
    # no two charges where none are needed: a zwitterion and a pyridinium have theirs
    assert sum(map(abs, charges)) <= (2 if path.stem == "glycine" else 1)
    for i, element in enumerate(molecule.elements):
        bonds = sum(order for bond, order in orders.items() if i in bond)
        assert element != "C" or bonds == 4, molecule.atom_names[i]


@pytest.mark.parametrize(
    ("elements", "bonds", "orders", "charges"),
    [
        # nitromethane: N+ with one O double and one O-
        ("CHHHNOO", [(0, 1), (0, 2), (0, 3), (0, 4), (4, 5), (4, 6)], [1, 1, 1, 1, 1, 2],
         {"C": 0, "H": 0, "N": 1, "O": -1}),
        # methyl azide, CH3-N=N+=N-
        ("CHHHNNN", [(0, 1), (0, 2), (0, 3), (0, 4), (4, 5), (5, 6)], [1, 1, 1, 1, 2, 2],
         {"C": 0, "H": 0, "N": 0}),
        # guanidinium
        ("CNHHNHHNHH", [(0, 1), (1, 2), (1, 3), (0, 4), (4, 5), (4, 6), (0, 7), (7, 8), (7, 9)],
         [1, 1, 1, 1, 1, 1, 1, 1, 2], {"C": 0, "H": 0, "N": 1}),
        # dimethyl sulfone without its hydrogens' names: S with two O double
        ("SOOCHHHCHHH", [(0, 1), (0, 2), (0, 3), (3, 4), (3, 5), (3, 6), (0, 7), (7, 8), (7, 9),
                         (7, 10)], [1] * 8 + [2, 2], {"S": 0, "O": 0}),
        # trimethylsulfonium: positive, and no S=C
        ("SCHHHCHHHCHHH", [(0, 1), (1, 2), (1, 3), (1, 4), (0, 5), (5, 6), (5, 7), (5, 8), (0, 9),
                           (9, 10), (9, 11), (9, 12)], [1] * 12, {"S": 1, "C": 0}),
        # pyrrole: the lone pair of N is its own
        ("NHCCCCHHHH", [(0, 1), (0, 2), (2, 3), (3, 4), (4, 5), (5, 0), (2, 6), (3, 7), (4, 8),
                        (5, 9)], [1] * 8 + [2, 2], {"N": 0, "C": 0}),
    ],
)  # fmt: skip
def test_groups_have_the_orders_that_they_are_drawn_with(elements, bonds, orders, charges):
    found, formal = find_bond_orders(elements, bonds)
    assert sorted(found.values()) == sorted(orders)
    for element, charge in charges.items():
        total = sum(q for e, q in zip(elements, formal, strict=True) if e == element)
        assert total == charge, element
