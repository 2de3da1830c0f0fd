"""Builds the PDB files of this folder; run as `python systems/build_structures.py`.

How a structure comes about, in this order:

1. Heavy atoms from ideal internal geometry (bond lengths and angles of Engh & Huber for the
   peptides, regular rings for the nucleoside). Peptides: one chain of (length, angle, torsion)
   placements from the acetyl cap, trans amides, and C-beta at torsion phi - 120 degrees about
   N-CA, which is the L configuration. Thymidine: a planar base and a planar furanose with the
   base and C5' above and O3' below the ring, which is beta-D (C1' R, C3' S, C4' R).
2. Hydrogens by `openmm.app.Modeller.addHydrogens` with the force field named below.
3. Minimisation in that force field on OpenMM's Reference platform. The script then checks every
   chirality again and refuses to write a structure that lost it.

Atom and residue names are the PDB's (ACE, ALA, NME, DT), so that mdtraj finds phi and psi.
"""

import random
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import numpy as np
import openmm
from openmm import app, unit

FOLDER = Path(__file__).resolve().parent
ANGSTROM = 0.1  # nm


@dataclass(frozen=True)
class Recipe:
    """One structure: its file, force field, heavy atoms and stereocentres."""

    file: str
    forcefield: tuple[str, ...]
    chain: list[tuple[str, dict[str, np.ndarray]]]  # per residue: name, heavy atom -> position nm
    # (residue name, centre, three neighbours) with the neighbours counted so that the signed
    # volume of their directions from the centre is positive in the wanted stereoisomer.
    centres: tuple[tuple[str, str, tuple[str, str, str]], ...]


def place(a, b, c, length, angle, torsion):
    """Position of d with |c-d| = length (nm), angle b-c-d and torsion a-b-c-d (degrees)."""
    angle, torsion = np.radians(angle), np.radians(torsion)
    along = (c - b) / np.linalg.norm(c - b)
    normal = np.cross(b - a, along)
    normal /= np.linalg.norm(normal)
    across = np.cross(normal, along)
    return c + length * (
        -np.cos(angle) * along
        + np.sin(angle) * np.cos(torsion) * across
        + np.sin(angle) * np.sin(torsion) * normal
    )


def capped(residues: list[str], phi: float, psi: float) -> list[tuple[str, dict[str, np.ndarray]]]:
    """Heavy atoms of Ace-...-Nme, every residue at the same phi and psi (degrees)."""
    ch3 = np.zeros(3)
    carbonyl = np.array([0.152, 0.0, 0.0])
    oxygen = place(np.array([0.0, 1.0, 0.0]), ch3, carbonyl, 0.1231, 120.5, 0.0)
    chain = [("ACE", {"CH3": ch3, "C": carbonyl, "O": oxygen})]
    # The atom behind (C-alpha, C) fixes the torsion of the next N: O for the cap, N afterwards.
    behind, alpha, torsion = oxygen, ch3, 180.0
    for name in residues:
        nitrogen = place(behind, alpha, carbonyl, 0.1329, 116.6, torsion)
        next_alpha = place(alpha, carbonyl, nitrogen, 0.1458, 121.7, 180.0)
        next_carbonyl = place(carbonyl, nitrogen, next_alpha, 0.1525, 111.0, phi)
        beta = place(carbonyl, nitrogen, next_alpha, 0.1526, 110.4, phi - 120.0)
        oxygen = place(nitrogen, next_alpha, next_carbonyl, 0.1231, 120.5, psi + 180.0)
        atoms = {"N": nitrogen, "CA": next_alpha, "C": next_carbonyl, "O": oxygen}
        if name != "GLY":
            atoms["CB"] = beta
        if name == "VAL":
            for gamma, chi in (("CG1", 175.0), ("CG2", -63.0)):
                atoms[gamma] = place(nitrogen, next_alpha, beta, 0.1521, 110.5, chi)
        chain.append((name, atoms))
        behind, alpha, carbonyl, torsion = nitrogen, next_alpha, next_carbonyl, psi
    nitrogen = place(behind, alpha, carbonyl, 0.1329, 116.6, torsion)
    methyl = place(alpha, carbonyl, nitrogen, 0.1458, 121.7, 180.0)
    chain.append(("NME", {"N": nitrogen, "C": methyl}))
    return chain


def thymidine() -> list[tuple[str, dict[str, np.ndarray]]]:
    """Heavy atoms of 2'-deoxythymidine (beta-D), planar rings, anti base."""
    # Furanose: regular pentagon of side 1.47 A in the xy plane; seen from +z the order
    # O4', C1', C2', C3', C4' runs clockwise, as in the Haworth drawing.
    radius = 1.47 * ANGSTROM / (2 * np.sin(np.pi / 5))
    atoms, outward, up = {}, {}, np.array([0.0, 0.0, 1.0])
    for k, name in enumerate(("O4'", "C1'", "C2'", "C3'", "C4'")):
        turn = np.pi / 2 - 2 * np.pi * k / 5
        outward[name] = np.array([np.cos(turn), np.sin(turn), 0.0])
        atoms[name] = radius * outward[name]

    def substituent(ring_atom, side, length):
        direction = outward[ring_atom] + side * np.sqrt(2.0) * up  # half the tetrahedral angle
        return atoms[ring_atom] + length * direction / np.linalg.norm(direction)

    atoms["C5'"] = substituent("C4'", +1, 0.151)
    atoms["O5'"] = place(atoms["C3'"], atoms["C4'"], atoms["C5'"], 0.142, 110.0, 60.0)
    atoms["O3'"] = substituent("C3'", -1, 0.142)
    atoms["N1"] = substituent("C1'", +1, 0.147)
    # Pyrimidine: regular hexagon of side 1.38 A, each exocyclic atom on its bisector.
    o4, c1, n1 = atoms["O4'"], atoms["C1'"], atoms["N1"]
    atoms["C2"] = place(o4, c1, n1, 0.138, 120.0, -120.0)  # chi about -120: anti
    atoms["N3"] = place(c1, n1, atoms["C2"], 0.138, 120.0, 180.0)
    atoms["C4"] = place(n1, atoms["C2"], atoms["N3"], 0.138, 120.0, 0.0)
    atoms["C5"] = place(atoms["C2"], atoms["N3"], atoms["C4"], 0.138, 120.0, 0.0)
    atoms["C6"] = place(atoms["N3"], atoms["C4"], atoms["C5"], 0.138, 120.0, 0.0)
    atoms["O2"] = place(c1, n1, atoms["C2"], 0.122, 120.0, 0.0)
    atoms["O4"] = place(atoms["C2"], atoms["N3"], atoms["C4"], 0.122, 120.0, 180.0)
    atoms["C7"] = place(atoms["N3"], atoms["C4"], atoms["C5"], 0.150, 120.0, 180.0)
    return [("DT", atoms)]


def with_hydrogens(recipe: Recipe) -> app.Modeller:
    """Topology and positions of the recipe, hydrogens added, not yet minimised."""
    topology = app.Topology()
    chain = topology.addChain("A")
    positions = []
    for number, (name, atoms) in enumerate(recipe.chain, start=1):
        residue = topology.addResidue(name, chain, str(number))
        for atom_name, position in atoms.items():
            topology.addAtom(atom_name, app.Element.getBySymbol(atom_name[0]), residue)
            positions.append(openmm.Vec3(*position))
    topology.createStandardBonds()
    modeller = app.Modeller(topology, positions * unit.nanometer)
    random.seed(1)  # OpenMM puts hydrogens at random around their atoms, then minimises
    # Given explicitly, the Reference platform makes the hydrogens come out the same everywhere.
    reference = openmm.Platform.getPlatformByName("Reference")
    modeller.addHydrogens(app.ForceField(*recipe.forcefield), platform=reference)
    return modeller


def minimised(modeller: app.Modeller, forcefield: tuple[str, ...]) -> np.ndarray:
    """Positions (atoms, 3) in nm at the nearest minimum, centred."""
    system = app.ForceField(*forcefield).createSystem(modeller.topology)
    reference = openmm.Platform.getPlatformByName("Reference")
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), reference)
    context.setPositions(modeller.positions)
    openmm.LocalEnergyMinimizer.minimize(context, tolerance=0.1)
    state = context.getState(positions=True)
    x = state.getPositions(asNumpy=True).value_in_unit(unit.nanometer)
    return x - x.mean(axis=0)


def check_chirality(topology: app.Topology, x: np.ndarray, recipe: Recipe) -> None:
    """Stops with a message when a stereocentre of the recipe came out inverted."""
    for residue in topology.residues():
        index = {atom.name: atom.index for atom in residue.atoms()}
        for residue_name, centre, neighbours in recipe.centres:
            if residue.name == residue_name:
                arms = x[[index[name] for name in neighbours]] - x[index[centre]]
                if np.linalg.det(arms) <= 0:
                    raise SystemExit(f"{recipe.file}: {centre} of {residue_name} is inverted")


def write(recipe: Recipe) -> None:
    """Builds one structure and writes it beside this script."""
    modeller = with_hydrogens(recipe)
    x = minimised(modeller, recipe.forcefield)
    check_chirality(modeller.topology, x, recipe)
    text = StringIO()
    app.PDBFile.writeFile(modeller.topology, x * unit.nanometer, text, keepIds=True)
    lines = [line for line in text.getvalue().splitlines() if not line.startswith("REMARK")]
    (FOLDER / recipe.file).write_text("\n".join(lines) + "\n")  # REMARK is the date


AMBER99 = ("amber99sbildn.xml", "amber99_obc.xml")
# CORN rule: CO, R, N clockwise seen from H
L_ALANINE, L_VALINE = ((name, "CA", ("N", "C", "CB")) for name in ("ALA", "VAL"))
BETA_D = (
    ("DT", "C1'", ("N1", "O4'", "C2'")),
    ("DT", "C3'", ("O3'", "C4'", "C2'")),
    ("DT", "C4'", ("C5'", "C3'", "O4'")),
)
RECIPES = (
    Recipe("alanine.pdb", AMBER99, capped(["ALA"], -80.0, 70.0), (L_ALANINE,)),
    Recipe("glycine.pdb", AMBER99, capped(["GLY"], -80.0, 70.0), ()),
    Recipe("valine.pdb", AMBER99, capped(["VAL"], -120.0, 130.0), (L_VALINE,)),
    Recipe("trialanine.pdb", AMBER99, capped(["ALA"] * 3, -75.0, 150.0), (L_ALANINE,)),
    Recipe("thymidine.pdb", ("amber14/DNA.OL15.xml", "implicit/obc2.xml"), thymidine(), BETA_D),
)

if __name__ == "__main__":
    for recipe in RECIPES:
        write(recipe)
        print(FOLDER / recipe.file)
