"""Bond orders and formal charges in files of a run: those of the input, as RDKit reads them."""

from types import SimpleNamespace

import numpy as np
import pytest

from onestep_md.analysis.sdf import read_bond_orders
from onestep_md.config import load_configs
from onestep_md.estimators.estimate import Estimate
from onestep_md.kinds.molecule import MoleculeTarget
from onestep_md.results.conformers import write_sdf
from onestep_md.targets.molecule import load_molecule


def test_a_molecule_without_bond_orders_has_them_by_valence(shipped, tmp_path):
    molecule = shipped("alanine")
    MoleculeTarget(molecule).keep(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"input.pdb", "input.sdf", "system.xml"}
    text = (tmp_path / "input.sdf").read_text()
    orders, charges = read_bond_orders(text)
    assert set(orders) == set(molecule.bonds) and not any(charges)
    names = molecule.atom_names
    double = [{names[i], names[j]} for (i, j), order in orders.items() if order == 2]
    assert double == [{"C", "O"}] * 2
    x = [[float(v) for v in line.split()[:3]] for line in text.splitlines()[4:26]]
    np.testing.assert_allclose(np.array(x) / 10.0, molecule.positions, atol=1e-5)


@pytest.mark.ligands
@pytest.mark.parametrize(
    "smiles",
    [
        "C[C@@H]([NH3+])/C=C/[N+](=O)[O-]",
        "C[C@H](O)[C@@H](F)C(=O)[O-]",
        "CC(=O)N=[N+]=[N-]",
        "C/C(=N\\O)c1ccc[n+]([O-])c1",
    ],
)
def test_files_have_the_molecule_of_the_smiles(smiles, tmp_path, monkeypatch):
    from rdkit import Chem

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    keys = {"forcefield": ["gaff2"], "charges": "gasteiger", "solvent": "vacuum"}
    (config,) = load_configs({"target": keys | {"smiles": smiles, "temperature": 300}}).values()
    molecule = load_molecule(config.molecule, config.folder)
    folder = tmp_path / "run"
    folder.mkdir()
    MoleculeTarget(molecule).keep(folder)
    row = SimpleNamespace(
        name="1",
        flow=SimpleNamespace(probability=Estimate(1.0, 0.0), delta_f=Estimate(0.0, 0.0)),
        frame=0,
        u=0.0,
    )
    x = molecule.positions[None].astype(np.float32).astype(float)
    assert write_sdf(folder, molecule, SimpleNamespace(rows=[row]), x) == []
    for name in ("input.sdf", "conformers.sdf"):
        (read,) = Chem.SDMolSupplier(str(folder / name))
        Chem.AssignStereochemistryFrom3D(read)
        assert Chem.MolToSmiles(read) == Chem.CanonSmiles(smiles), name
