"""Ligands from SMILES, SDF and MOL2, by RDKit.

Anything that GAFF does not describe is refused. Anything that the input leaves open is chosen, the
same way every time, and a note says how.
"""

import re
from collections import Counter
from pathlib import Path

import numpy as np
from rdkit import Chem, rdBase
from rdkit.Chem import rdCIPLabeler, rdDistGeom, rdForceFieldHelpers, rdMolDescriptors

from onestep_md.errors import TargetError
from onestep_md.targets.sources import perception
from onestep_md.targets.sources.ligand import Ligand
from onestep_md.targets.sources.ligand_files import parse_mol2, parse_sdf
from onestep_md.targets.sources.structure import read_text

_ELEMENTS = ("H", "C", "N", "O", "F", "P", "S", "Cl", "Br", "I")  # of GAFF
_BONDS = {
    Chem.BondType.SINGLE, Chem.BondType.DOUBLE, Chem.BondType.TRIPLE, Chem.BondType.AROMATIC,
}  # fmt: skip
_CUMULENE = "[CX3,NX2]=[CX2]=[CX3,CX2,NX2]"  # no torsion of GAFF reaches over atoms in line
_SEED = 1  # of geometries, whatever the seed of the run: it is part of what the target is
_GEOMETRIES = 50  # from which the best one is chosen
_NEAR = 0.1  # e, within which charges of a file count as its net charge
_MOST_NEIGHBOURS = 4  # of S and P in GAFF
_LONGEST_NAME = 4  # columns of a PDB file
_SHORTEST_BOND = 0.5  # A


def read_smiles(smiles: str) -> Ligand:
    """Read a SMILES string and build a geometry.

    Raises:
        TargetError: it is no SMILES, or a molecule that GAFF does not describe.
    """
    where = f"target.smiles: {smiles}"
    if re.search(r"[^\S \t]", smiles):
        raise TargetError(
            f"target.smiles: {smiles!r} has characters that no SMILES string has. A backslash in "
            "double quotes begins such ones: write the string in single quotes, on one line."
        )
    with rdBase.BlockLogs():
        molecule = Chem.MolFromSmiles(smiles, sanitize=False)
    if molecule is None:
        raise TargetError(
            f"{where} is no SMILES string. Names, formulas and InChI are not looked up: give the "
            "structure, such as CC(=O)Oc1ccccc1C(=O)O for aspirin."
        )
    string, *name = smiles.split(maxsplit=1) or [""]
    notes = [f"SMILES {smiles}"]
    if name and not name[0].startswith("|"):  # |&1:1| groups stereocentres
        notes = [f"SMILES {string}; what follows, {name[0]}, is taken as a name"]
    molecule = Chem.AddHs(_sanitise(molecule, where, notes))
    return _finish(molecule, where, notes, new_geometry=True)


def read_file(path: Path) -> Ligand:
    """Read the one molecule of an SDF, MOL2, PDB, mmCIF or XYZ file, with its geometry if any.

    Raises:
        TargetError: the file is of another format, or GAFF does not describe its molecule.
    """
    text, where = read_text(path), f"target.file: {path}"
    notes: list[str] = []
    charge = None
    if "@<TRIPOS>MOLECULE" in text:
        molecule, charge = parse_mol2(text, where)
    elif perception.has_no_orders(path, text):
        molecule, notes = perception.read_atoms(path, where)
        _check_atoms_and_bonds(molecule, where)
        molecule, note = perception.perceive_bonds(molecule, where)
        notes.append(note)
    else:
        molecule = parse_sdf(text, where)
    molecule = _sanitise(molecule, where, notes)
    flat = not molecule.GetConformer().Is3D()
    if flat:
        notes.append("the file is a drawing in the plane: the geometry is RDKit's")
    else:
        _check_lengths(molecule, where)
    before = molecule.GetNumAtoms()
    molecule = Chem.AddHs(molecule, addCoords=True)
    added = molecule.GetNumAtoms() - before
    if added:
        notes.append(f"{_count(added, 'hydrogen')} missing in the file: added after its atoms")
    net = Chem.GetFormalCharge(molecule)
    if charge is not None and abs(charge - net) > _NEAR:
        raise TargetError(
            f"{where}: its partial charges sum to {charge:.2f}, and its bonds and hydrogens make "
            f"a molecule of charge {net}. Correct the bond orders, hydrogens or charges."
        )
    return _finish(molecule, where, notes, new_geometry=flat)


def _check_lengths(molecule: Chem.Mol, where: str) -> None:
    x = molecule.GetConformer().GetPositions()
    for i, j in _ends(molecule):
        length = np.linalg.norm(x[i] - x[j])
        if length < _SHORTEST_BOND:
            raise TargetError(
                f"{where}: the bond of atoms {i + 1} and {j + 1} is {length:.2f} A long. "
                "Coordinates are in Angstrom (10 A = 1 nm); write them anew."
            )


def _sanitise(molecule: Chem.Mol, where: str, notes: list[str]) -> Chem.Mol:
    """Check that GAFF may describe a molecule; perceive its rings, aromaticity and stereo."""
    _check_atoms_and_bonds(molecule, where)
    perception.join_charges(molecule)
    with rdBase.BlockLogs():
        problems = Chem.DetectChemistryProblems(molecule)
        if problems:
            message = re.sub(r"Unkekulized.*", "", problems[0].Message(), flags=re.S)
            message = re.sub(r"# (\d+)", lambda m: str(int(m[1]) + 1), message)  # from 0 in RDKit
            raise TargetError(
                f"{where}: {message.strip().rstrip('.')} (by RDKit). Correct the bond "
                "orders, hydrogens or charges; an aromatic N with its hydrogen is [nH] in SMILES."
            )
        Chem.SanitizeMol(molecule)
    if molecule.GetNumAtoms() == 1 and not molecule.GetAtomWithIdx(0).GetTotalNumHs():
        raise TargetError(f"{where} is a single atom, which has nothing to sample.")
    cumulene = molecule.GetSubstructMatch(Chem.MolFromSmarts(_CUMULENE))
    if cumulene:
        raise TargetError(
            f"{where}: the double bonds at {_label(molecule.GetAtomWithIdx(cumulene[1]))} share "
            "it, and GAFF lets their ends turn freely about each other. Give target.pdb with "
            "target.system of a force field that holds them."
        )
    radicals = [atom for atom in molecule.GetAtoms() if atom.GetNumRadicalElectrons()]
    if radicals:
        raise TargetError(
            f"{where}: {_label(radicals[0])} has unpaired electrons. GAFF has no radicals: give "
            "the hydrogens or the charge that are missing."
        )
    if molecule.GetStereoGroups():
        molecule = Chem.RWMol(molecule)
        molecule.SetStereoGroups([])
        notes.append("stereo that is racemic or relative: taken as it is drawn")
    marked = [atom for atom in molecule.GetAtoms() if atom.GetIsotope()]
    for atom in marked:
        atom.SetIsotope(0)
    if marked:
        notes.append(
            f"{_count(len(marked), 'isotope')} taken as the usual one: the energy is the same"
        )
    if molecule.GetNumConformers() and molecule.GetConformer().Is3D():
        Chem.AssignStereochemistryFrom3D(molecule)
    else:
        Chem.AssignStereochemistry(molecule, cleanIt=True, force=True)
    return molecule


def _check_atoms_and_bonds(molecule: Chem.Mol, where: str) -> None:
    if molecule.GetNumAtoms() == 0:
        raise TargetError(f"{where} holds no atoms.")
    for atom in molecule.GetAtoms():
        if atom.GetAtomicNum() == 0 or atom.HasQuery():
            raise TargetError(f"{where}: {_label(atom)} is a placeholder. Name its element.")
    parts = Chem.GetMolFrags(molecule, asMols=True, sanitizeFrags=False)
    if len(parts) > 1:
        sizes = ", ".join(_formula(part) for part in parts)
        raise TargetError(
            f"{where} holds {len(parts)} molecules: {sizes}. Only one can be sampled: delete "
            "counterions and solvent, and give the charge that is left."
        )
    for atom in molecule.GetAtoms():
        if atom.GetSymbol() not in _ELEMENTS:
            raise TargetError(
                f"{where}: GAFF has no {_label(atom)}. Its elements are {', '.join(_ELEMENTS)}; "
                "for others, give target.pdb with target.system of a force field that has them."
            )
        if atom.GetSymbol() in ("S", "P") and atom.GetDegree() > _MOST_NEIGHBOURS:
            raise TargetError(
                f"{where}: GAFF has no {_label(atom)} with {atom.GetDegree()} neighbours. Give "
                "target.pdb with target.system of a force field that has it."
            )
    for bond in molecule.GetBonds():
        if bond.GetBondType() not in _BONDS or bond.HasQuery():
            ends = f"{_label(bond.GetBeginAtom())} and {_label(bond.GetEndAtom())}"
            raise TargetError(
                f"{where}: the bond of {ends} is neither single, double, triple nor aromatic. "
                "Give its order, or delete it."
            )


def _finish(molecule: Chem.Mol, where: str, notes: list[str], new_geometry: bool) -> Ligand:
    """Build the geometry if it is missing, choose open stereo, and describe the molecule."""
    undefined = [s for s in Chem.FindPotentialStereo(molecule) if _is_open(s)]
    if new_geometry:
        notes += _build_geometries(molecule, where)
    Chem.AssignStereochemistryFrom3D(molecule)
    rdCIPLabeler.AssignCIPLabels(molecule)
    names = _names(molecule)
    notes[:0] = [f"{_formula(molecule)}, charge {Chem.GetFormalCharge(molecule)}"]
    notes += _describe_stereo(molecule, names)
    if new_geometry:
        notes += _describe_choices(molecule, undefined, names)
    return Ligand(
        elements=tuple(atom.GetSymbol() for atom in molecule.GetAtoms()),
        names=names,
        bonds=tuple(sorted((min(ends), max(ends)) for ends in _ends(molecule))),
        geometries=np.stack([c.GetPositions() / 10 for c in molecule.GetConformers()]).round(4),
        charge=Chem.GetFormalCharge(molecule),
        molfile=Chem.MolToMolBlock(molecule),
        notes=tuple(notes),
    )


def _build_geometries(molecule: Chem.Mol, where: str) -> list[str]:
    """Embed a molecule many times by ETKDG, relax by MMFF94, the best one first; return notes."""
    parameters = rdDistGeom.ETKDGv3()
    parameters.randomSeed = _SEED
    with rdBase.BlockLogs():
        if rdDistGeom.EmbedMolecule(molecule, parameters) < 0:
            parameters.useRandomCoords = True
            if rdDistGeom.EmbedMolecule(molecule, parameters) < 0:
                raise TargetError(
                    f"{where}: RDKit has no geometry for it; its stereocentres may exclude each "
                    "other. Correct them, or give an SDF with coordinates in space."
                )
        # all others have the stereo of the first one, also where it is open
        Chem.AssignStereochemistryFrom3D(molecule)
        rdDistGeom.EmbedMultipleConfs(molecule, _GEOMETRIES, parameters)
        relaxed = rdForceFieldHelpers.MMFFOptimizeMoleculeConfs(molecule, maxIters=5000)
    geometries = [Chem.Conformer(conformer) for conformer in molecule.GetConformers()]
    # without parameters all energies are -1, and the order stays
    order = np.argsort([energy for _, energy in relaxed], kind="stable")
    molecule.RemoveAllConformers()
    for i in order:
        molecule.AddConformer(geometries[i], assignId=True)
    if relaxed[0][0] < 0:
        return ["MMFF94 has no parameters for it: the geometry is that of ETKDG"]
    return []


def _is_open(stereo: Chem.StereoInfo) -> bool:
    kinds = (Chem.StereoType.Atom_Tetrahedral, Chem.StereoType.Bond_Double)
    return stereo.type in kinds and stereo.specified == Chem.StereoSpecified.Unspecified


def _describe_stereo(molecule: Chem.Mol, names: tuple[str, ...]) -> list[str]:
    """List every stereocentre and double bond with its label, in one note."""
    labels = [
        f"{names[atom.GetIdx()]} {atom.GetProp('_CIPCode')}"
        for atom in molecule.GetAtoms()
        if atom.HasProp("_CIPCode")
    ]
    for bond in molecule.GetBonds():
        if bond.HasProp("_CIPCode"):
            ends = f"{names[bond.GetBeginAtomIdx()]}={names[bond.GetEndAtomIdx()]}"
            labels.append(f"{ends} {bond.GetProp('_CIPCode')}")
    return [f"stereo: {', '.join(labels)}"] if labels else []


def _describe_choices(
    molecule: Chem.Mol, undefined: list[Chem.StereoInfo], names: tuple[str, ...]
) -> list[str]:
    """Say which stereo was chosen; what has no label after all was no choice."""
    notes = []
    for kind, noun, how in (
        (Chem.StereoType.Atom_Tetrahedral, "stereocentre", "@ in SMILES, a wedge in a drawing,"),
        (Chem.StereoType.Bond_Double, "double bond", "/ and \\ in SMILES"),
    ):
        chosen = []
        for stereo in (s for s in undefined if s.type == kind):
            atom = kind == Chem.StereoType.Atom_Tetrahedral
            at = (molecule.GetAtomWithIdx if atom else molecule.GetBondWithIdx)(stereo.centeredOn)
            ends = [at.GetIdx()] if atom else [at.GetBeginAtomIdx(), at.GetEndAtomIdx()]
            if at.HasProp("_CIPCode"):
                chosen.append((at.GetProp("_CIPCode"), "=".join(names[i] for i in ends)))
        if chosen:
            labels, places = (",".join(part) for part in zip(*chosen, strict=True))
            notes.append(
                f"{_count(len(chosen), noun)} undefined: taken as {labels} ({places}); give {how} "
                "to choose"
            )
    return notes


def _names(molecule: Chem.Mol) -> tuple[str, ...]:
    """Take the names of the file if they serve, otherwise element and number."""
    own = [
        atom.GetProp(key)
        for atom in molecule.GetAtoms()
        for key in ("_TriposAtomName", perception.NAME)
        if atom.HasProp(key)
    ]
    if len(set(own)) == molecule.GetNumAtoms() and max(map(len, own)) <= _LONGEST_NAME:
        return tuple(own)
    counts: Counter[str] = Counter()
    names = []
    for atom in molecule.GetAtoms():
        counts[atom.GetSymbol()] += 1
        names.append(f"{atom.GetSymbol()}{counts[atom.GetSymbol()]}")
    return tuple(names)


def _ends(molecule: Chem.Mol) -> list[tuple[int, int]]:
    return [(bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()) for bond in molecule.GetBonds()]


def _label(atom: Chem.Atom) -> str:
    return f"atom {atom.GetIdx() + 1} ({atom.GetSymbol()})"


def _formula(molecule: Chem.Mol) -> str:
    copy = Chem.Mol(molecule)
    copy.UpdatePropertyCache(strict=False)
    return rdMolDescriptors.CalcMolFormula(copy)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
