"""The molecules of systems/solvation/, what builds them, and `benchmark solvation`."""

import importlib.util
import json
import shutil
from pathlib import Path

import numpy as np
import openmm
import pytest
from openmm import app, unit

from onestep_md.benchmark import __main__ as command_line
from onestep_md.benchmark import molecule_reference
from onestep_md.config import load_config, load_states
from onestep_md.kinds import load_target

SYSTEMS = Path(__file__).parents[2] / "systems"
SOLVATION = SYSTEMS / "solvation"
NAMES = ("acetate", "acetonitrile", "ethanol", "n-methylacetamide", "phenol")
# polar energies (kcal/mol) of sander 26 with igb = 5 and 8 and radii mbondi2 and mbondi3 (acetate:
# oxygen 1.4 A in mbondi3), for the geometry of the PDB
SANDER = {
    "acetate": (-86.5635, -92.8618),
    "acetonitrile": (-6.6845, -7.1650),
    "ethanol": (-5.9081, -5.5531),
    "n-methylacetamide": (-11.8541, -11.7795),
    "phenol": (-8.9646, -8.6041),
}


@pytest.fixture(scope="module")
def builder():
    spec = importlib.util.spec_from_file_location("build_solvation", SOLVATION / "build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def states_of(name):
    """The configurations of all states of a molecule, its own first."""
    file = SOLVATION / f"{name}.yaml"
    states = load_states(SOLVATION / f"{name}-states.yaml")
    assert list(states) == ["OBC2", "GBn2"]
    return [load_config(file, options) for options in ([], *states.values())]


def read_system(path):
    return openmm.XmlSerializer.deserialize(path.read_text())


def is_solvent(force):
    return isinstance(force, openmm.GBSAOBCForce | openmm.CustomGBForce)


def energy(system, x, solvent):
    """Energy of the solvent alone, or of all other forces, kJ/mol."""
    for force in system.getForces():
        force.setForceGroup(1 if is_solvent(force) else 0)
    platform = openmm.Platform.getPlatformByName("Reference")
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), platform)
    context.setPositions(x)
    state = context.getState(energy=True, groups={1 if solvent else 0})
    return state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole)


def positions(name, noise):
    x = app.PDBFile(str(SYSTEMS / "molecules" / f"{name}.pdb")).getPositions(asNumpy=True)
    x = x.value_in_unit(unit.nanometer)
    return x + noise * np.random.default_rng(0).standard_normal(x.shape)


@pytest.mark.parametrize("name", NAMES)
def test_solvents_are_states_of_the_same_configurations(name):
    own, *others = [load_target(config) for config in states_of(name)]
    assert own.fingerprint.solvent == "vacuum"
    assert all("generalised Born" in other.fingerprint.solvent for other in others)
    for other in others:
        own.check_same_configurations(other)
        assert other.molecule.constraints == own.molecule.constraints


@pytest.mark.parametrize("name", NAMES)
def test_shipped_systems_are_those_of_the_builder(name, builder):
    assert name in builder.NAMES
    for file, text in builder.build_molecule(name).items():
        assert openmm.XmlSerializer.serialize(read_system(SOLVATION / file)) == text


@pytest.mark.parametrize("name", NAMES)
def test_states_differ_by_their_solvent_alone(name):
    x = positions(name, 0.003)
    gas = energy(read_system(SYSTEMS / "molecules" / f"{name}.xml"), x, solvent=False)
    assert energy(read_system(SOLVATION / f"{name}-vacuum.xml"), x, solvent=True) == 0.0
    for solvent in ("vacuum", "obc2", "gbn2"):
        system = read_system(SOLVATION / f"{name}-{solvent}.xml")
        assert energy(system, x, solvent=False) == pytest.approx(gas, abs=1e-9)


@pytest.mark.parametrize("name", ["acetate", "ethanol", "n-methylacetamide"])
def test_obc2_is_that_of_the_topology_file_of_amber(name):
    x = positions(name, 0.003)
    theirs = energy(read_system(SYSTEMS / "molecules" / f"{name}.xml"), x, solvent=True)
    ours = energy(read_system(SOLVATION / f"{name}-obc2.xml"), x, solvent=True)
    assert ours == pytest.approx(theirs, rel=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_polar_energies_are_those_of_amber(name):
    x = positions(name, 0.0)
    for solvent, known in zip(("obc2", "gbn2"), SANDER[name], strict=True):
        system = read_system(SOLVATION / f"{name}-{solvent}.xml")
        (force,) = filter(is_solvent, system.getForces())
        if solvent == "obc2":
            force.setSurfaceAreaEnergy(0.0)
        else:
            terms = [force.getEnergyTermParameters(k) for k in range(force.getNumEnergyTerms())]
            (surface,) = [k for k, (text, _) in enumerate(terms) if "radius/B" in text]
            force.setEnergyTermParameters(surface, "0", openmm.CustomGBForce.SingleParticle)
        # their Coulomb constant differs in the fifth digit
        assert energy(system, x, solvent=True) / 4.184 == pytest.approx(known, rel=6e-5)


def test_radii_of_a_carboxylate_are_smaller_in_gbn2(builder):
    topology = app.PDBFile(str(SYSTEMS / "molecules" / "acetate.pdb")).topology
    radii = builder.GBSAGBn2Force.getStandardParameters(topology)[:, 0]
    np.testing.assert_allclose(radii, [0.17, 0.17, 0.14, 0.14, 0.12, 0.12, 0.12])


@pytest.mark.parametrize("name", NAMES)
def test_references_are_of_the_shipped_states(name):
    rows = json.loads((SYSTEMS / "reference" / "solvation.json").read_text())[name]["states"]
    assert list(rows) == ["own", "OBC2", "GBn2"]
    for config, row in zip(states_of(name), rows.values(), strict=True):
        assert row["identity"] == load_target(config).fingerprint.identity
        assert row["error"] < 0.005


def test_restraints_act_outside_of_their_wells():
    file = SYSTEMS / "alanine.yaml"
    own = load_target(load_config(file))
    x = own.molecule.positions[None]  # in alphaR
    known = {"alphaR": (-70.0, -35.0), "C7ax": (60.0, -60.0)}
    states = load_states(SYSTEMS / "alanine-restraints.yaml")
    assert states.keys() == known.keys()
    traced = app.PDBFile(str(SYSTEMS / "alanine.pdb"))
    names = [atom.name for atom in traced.topology.atoms()]
    a, b, c, d, e = (i for i, n in enumerate(names) if n in ("C", "N", "CA") and 3 < i < 17)
    phi, psi = dihedral(x[0][[a, b, c, d]]), dihedral(x[0][[b, c, d, e]])
    for name, options in states.items():
        state = load_target(load_config(file, options))
        own.check_same_configurations(state)
        u = [target.factory("Reference")().evaluate(x)[0][0] for target in (state, own)]
        away = np.abs((np.array([phi, psi]) - known[name] + 180.0) % 360.0 - 180.0)
        beyond = np.radians(np.maximum(away - 30.0, 0.0))
        expected = 0.5 * 100.0 * (beyond**2).sum() / own.molecule.kT
        assert (expected == 0.0) == (name == "alphaR")
        assert u[0] - u[1] == pytest.approx(expected, rel=1e-5)


def dihedral(x):
    b0, b1, b2 = x[0] - x[1], x[2] - x[1], x[3] - x[2]
    b1 = b1 / np.linalg.norm(b1)
    v, w = b0 - (b0 @ b1) * b1, b2 - (b2 @ b1) * b1
    return np.degrees(np.arctan2(np.cross(b1, v) @ w, v @ w))


def test_command_runs_and_compares_with_references_that_it_makes(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(molecule_reference, "_SAMPLES", 20_000)
    monkeypatch.setattr(molecule_reference, "_NUMBERS", 0)
    for folder, names in {
        "molecules": ["acetonitrile.pdb"],
        "solvation": [path.name for path in SOLVATION.glob("acetonitrile*")],
    }.items():
        (tmp_path / folder).mkdir()
        for name in names:
            shutil.copy(SYSTEMS / folder / name, tmp_path / folder)
    systems, out = tmp_path / "solvation", tmp_path / "runs"
    file = systems / "acetonitrile.yaml"
    short = "steps: 2, batch: 32, regression_batch: 32"
    text = file.read_text().replace("steps: 200, batch: 256, regression_batch: 128", short)
    file.write_text(text.replace("particles: 5000", "particles: 1000").replace("20000", "1000"))
    (systems / "acetonitrile-states.yaml").write_text(
        "states: {OBC2: {system: acetonitrile-obc2.xml}}\n"
    )
    command = {"only": "", "out": out, "systems": systems, "seed": None}
    command_line.solvation(reference=True, **command)
    known = json.loads((tmp_path / "reference" / "solvation.json").read_text())
    # as the shipped ones, which have more samples
    shipped = json.loads((SYSTEMS / "reference" / "solvation.json").read_text())
    for name, row in known["acetonitrile"]["states"].items():
        value = shipped["acetonitrile"]["states"][name]["value"]
        assert abs(row["value"] - value) < 5.0 * row["error"] < 0.05
    command_line.solvation(reference=False, **command)
    lines = capsys.readouterr().out.splitlines()
    (row,) = [line for line in lines if line.startswith("| acetonitrile: own -> OBC2")]
    assert "reweighting" in row and abs(float(row.split("|")[-2])) < 4.0
    assert "2 states, mean of z^2" in "\n".join(lines)
    assert (out / "table.md").exists()
