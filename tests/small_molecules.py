"""Small molecules made by hand, and what their log Z is in the harmonic limit."""

import io
import math

import numpy as np
import openmm
from openmm import app, unit
from scipy.optimize import minimize

from onestep_md.targets.evaluator import PotentialEvaluator
from onestep_md.targets.molecule import Molecule


def write_molecule(folder, elements, x, bonds, angles=(), torsions=(), name="mol"):
    """Writes <name>.pdb and <name>.xml of harmonic terms; returns the lines of a `target` section.

    Args:
        folder: where to.
        elements: chemical symbols.
        x: (atoms, 3) in nm.
        bonds: (i, j, nm, kJ/mol/nm^2) each.
        angles: (i, j, k, degrees, kJ/mol/rad^2) each.
        torsions: (i, j, k, l, periodicity, degrees, kJ/mol) each.
    """
    system, topology = openmm.System(), app.Topology()
    residue = topology.addResidue("LIG", topology.addChain())
    atoms = []
    for k, symbol in enumerate(elements):
        element = app.Element.getBySymbol(symbol)
        system.addParticle(element.mass)
        atoms.append(topology.addAtom(f"{symbol}{k}", element, residue))
    stretch, bend, turn = (
        openmm.HarmonicBondForce(),
        openmm.HarmonicAngleForce(),
        openmm.PeriodicTorsionForce(),
    )
    for i, j, length, k in bonds:
        topology.addBond(atoms[i], atoms[j])
        stretch.addBond(i, j, length, k)
    for i, j, k, degrees, stiffness in angles:
        bend.addAngle(i, j, k, math.radians(degrees), stiffness)
    for i, j, k, m, periodicity, degrees, height in torsions:
        turn.addTorsion(i, j, k, m, periodicity, math.radians(degrees), height)
    for force in (stretch, bend, turn):
        system.addForce(force)
    (folder / f"{name}.xml").write_text(openmm.XmlSerializer.serialize(system))
    text = io.StringIO()
    app.PDBFile.writeFile(topology, np.asarray(x) * unit.nanometer, text, keepIds=True)
    (folder / f"{name}.pdb").write_text(text.getvalue())
    return {"pdb": f"{name}.pdb", "system": f"{name}.xml"}


def harmonic_log_z(molecule: Molecule) -> float:
    """Log Z from the Hessian at the minimum, rigid motion integrated out as `internal` does it.

    The minimum at x has 3n - 6 vibrations (3n - 5 on a line) of variance 1 / lambda; its rigid
    motions have the volume n^{3/2} (det I)^{1/2} V 8 pi^2, I of unit masses, on a line n^{3/2}
    I V 4 pi. What is left out of log Z is log(8 pi^2 V), of two atoms log(4 pi V).
    """
    evaluator = PotentialEvaluator(molecule, "Reference")
    n = len(molecule.elements)

    def energy(flat):
        u, grad_u = evaluator.evaluate(flat.reshape(1, n, 3))
        return float(u[0]), grad_u[0].ravel()

    x = molecule.positions.ravel()
    for _ in range(5):
        x = minimize(energy, x, jac=True, method="BFGS", options={"gtol": 1e-7}).x
    step = 1e-5
    rows = [
        (energy(x + step * e)[1] - energy(x - step * e)[1]) / (2 * step) for e in np.eye(3 * n)
    ]
    hessian = 0.5 * (np.array(rows) + np.array(rows).T)
    centred = x.reshape(n, 3) - x.reshape(n, 3).mean(0)
    inertia = np.linalg.eigvalsh((centred**2).sum() * np.eye(3) - centred.T @ centred)
    straight = inertia[0] < 1e-6 * inertia[2]
    values = np.linalg.eigvalsh(hessian)[5 if straight else 6 :]
    assert values[0] > 1e-7 * values[-1]
    rotation = math.log(inertia[2]) if straight else 0.5 * np.log(inertia).sum()
    if straight and n > 2:
        rotation -= math.log(2.0 * math.pi)
    return -energy(x)[0] + 0.5 * np.log(2.0 * np.pi / values).sum() + 1.5 * math.log(n) + rotation
