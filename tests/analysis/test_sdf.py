"""SDF records: their columns, as the format has them, and as RDKit reads them."""

import numpy as np
import pytest

from onestep_md.analysis.sdf import read_bond_orders, sdf_record

ELEMENTS = ("C", "H", "H", "H", "C", "O", "O")  # acetate
ORDERS = {(0, 1): 1, (0, 2): 1, (0, 3): 1, (0, 4): 1, (4, 5): 2, (4, 6): 1}
X = np.random.default_rng(0).normal(size=(7, 3))


def record(**properties: str) -> str:
    charges = (0, 0, 0, 0, 0, 0, -1)
    return sdf_record("acetate", ELEMENTS, X, ORDERS, charges, properties)


def test_the_columns_are_those_of_the_format():
    lines = record(population="0.25", conformer="1").splitlines()
    assert lines[0] == "acetate" and lines[1][20:22] == "3D"
    assert (lines[3][:3], lines[3][3:6], lines[3][33:]) == ("  7", "  6", " V2000")
    for line, element, place in zip(lines[4:11], ELEMENTS, X, strict=True):
        assert line[31:34].strip() == element
        given = [float(line[k : k + 10]) for k in (0, 10, 20)]
        np.testing.assert_allclose(given, 10.0 * place, atol=5.1e-5)  # Angstrom
    bonds = {(int(b[:3]) - 1, int(b[3:6]) - 1): int(b[6:9]) for b in lines[11:17]}
    assert bonds == ORDERS
    assert lines[17:19] == ["M  CHG  1   7  -1", "M  END"]
    assert lines[19:] == ["> <population>", "0.25", "", "> <conformer>", "1", "", "$$$$"]


def test_charges_stand_in_rows_of_eight():
    lines = sdf_record("x", ["N"] * 9, np.zeros((9, 3)), {}, [1] * 9, {}).splitlines()
    assert [line[6:9] for line in lines if line.startswith("M  CHG")] == ["  8", "  1"]


def test_bond_orders_and_charges_are_read_back():
    assert read_bond_orders(record()) == (ORDERS, (0, 0, 0, 0, 0, 0, -1))
    text = sdf_record("x", ["N"] * 9, np.zeros((9, 3)), {}, [1] * 9, {})
    assert read_bond_orders(text) == ({}, (1,) * 9)


def test_rdkit_reads_the_molecule_that_was_written():
    chem = pytest.importorskip("rdkit.Chem")
    (molecule,) = _read(chem, record(population="0.25"))
    assert chem.MolToSmiles(chem.RemoveHs(molecule)) == "CC(=O)[O-]"
    assert molecule.GetProp("population") == "0.25"


def _read(chem, text):
    supplier = chem.SDMolSupplier()
    supplier.SetData(text, removeHs=False)
    return list(supplier)
