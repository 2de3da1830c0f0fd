"""A drawing of a molecule in the plane, by RDKit, with its torsions marked and named.

RDKit places atoms and bonds; names of torsions stand beside the bonds that they turn about, where
they are farthest from everything else.
"""

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

from onestep_md.analysis.figures import style
from onestep_md.analysis.torsions import Quad

_SCALE, _WIDE_SCALE = 38.0, 50.0  # px per unit of RDKit, 1.5 of which are a bond
_LONG = 6  # letters of a name beyond which a drawing is wide
_SIDES, _ENDS = 84.0, 26.0  # px of margin, for labels
_LETTER = 6.6  # px, of a label
_NEARER, _FARTHER = 13.0, 21.0  # px from a bond to its label
_TO_ATOM = 18.0  # px from an atom to its name
_OUTWARD = 8.0  # px of room that a side is worth which leads out of the molecule
_MARK = (0.98, 0.80, 0.45)
_NAME = "font:600 12px system-ui,sans-serif;fill:#1f6fb5"
_ATOM = "font:10px system-ui,sans-serif;fill:#8a919b"
_HALO = "paint-order:stroke;stroke:white;stroke-width:3px"


def draw_structure(molfile: str, torsions: Mapping[str, Quad], atom_names: Sequence[str]) -> str:
    """Draw a molecule without the hydrogens on carbon.

    Args:
        molfile: atoms, bond orders and geometry, which has the stereochemistry.
        torsions: torsions by name; those that are not about a drawn bond are not marked.
        atom_names: (n,) names of the atoms.

    Returns:
        An SVG; empty if RDKit cannot read the molecule.

    Raises:
        ImportError: RDKit is missing.
    """
    from rdkit import Chem, rdBase
    from rdkit.Chem import rdCIPLabeler, rdDepictor
    from rdkit.Chem.Draw import rdMolDraw2D

    with rdBase.BlockLogs():
        molecule = Chem.MolFromMolBlock(molfile, removeHs=False)
        if molecule is None or molecule.GetNumAtoms() != len(atom_names):
            return ""
        for atom, name in zip(molecule.GetAtoms(), atom_names, strict=True):
            atom.SetProp("name", name)
            atom.SetIntProp("index", atom.GetIdx())
        Chem.AssignStereochemistryFrom3D(molecule)
        rdCIPLabeler.AssignCIPLabels(molecule)
        molecule = Chem.RemoveHs(molecule)
        rdDepictor.Compute2DCoords(molecule, canonOrient=True)
        molecule = rdMolDraw2D.PrepareMolForDrawing(molecule, addChiralHs=False)
    index = {atom.GetIntProp("index"): atom.GetIdx() for atom in molecule.GetAtoms()}
    about = {
        name: (index[i], index[j])
        for name, (_, i, j, _) in torsions.items()
        if i in index and j in index and molecule.GetBondBetweenAtoms(index[i], index[j])
    }
    drawer = rdMolDraw2D.MolDraw2DSVG(-1, -1)  # of the size that the molecule has
    options = drawer.drawOptions()
    options.scalingFactor = _WIDE_SCALE if max(map(len, about), default=0) > _LONG else _SCALE
    bonds = {molecule.GetBondBetweenAtoms(i, j).GetIdx() for i, j in about.values()}
    drawer.DrawMolecule(
        molecule,
        highlightAtoms=[],
        highlightBonds=list(bonds),
        highlightBondColors=dict.fromkeys(bonds, _MARK),
    )
    drawer.FinishDrawing()
    places = [drawer.GetDrawCoords(k) for k in range(molecule.GetNumAtoms())]
    xy = np.array([(place.x, place.y) for place in places])
    labels = _label_atoms(molecule, xy)
    labels += _label_bonds(xy, [place for place, *_ in labels], about)
    texts = "".join(_format(*label) for label in labels)
    body = drawer.GetDrawingText().partition("<!-- END OF HEADER -->")[2]
    width, height = drawer.Width() + 2.0 * _SIDES, drawer.Height() + 2.0 * _ENDS
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="{-_SIDES:g} {-_ENDS:g} {width:.0f} {height:.0f}">'
        f"{body.replace('</svg>', texts + '</svg>')}"
    )


def _label_atoms(molecule, xy: np.ndarray) -> list[tuple[np.ndarray, str, str]]:
    """Place the names of atoms (n, 2) away from their bonds: place, text and style of each."""
    bonds = [(bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()) for bond in molecule.GetBonds()]
    full = np.array([*xy, *(0.5 * (xy[i] + xy[j]) for i, j in bonds)])
    turn = np.arange(24) * np.pi / 12
    around = np.stack([np.cos(turn), np.sin(turn)], axis=1)
    labels = []
    for place, atom in zip(xy, molecule.GetAtoms(), strict=True):
        arms = xy[[other.GetIdx() for other in atom.GetNeighbors()]] - place
        away = -(arms / np.linalg.norm(arms, axis=1, keepdims=True)).sum(0)
        if atom.GetSymbol() != "C" and atom.GetTotalNumHs():  # its letters reach to the sides
            away = np.array([0.0, away[1]]) if len(arms) == 1 else -away
        if np.linalg.norm(away) < 0.3 or len(arms) > 2:
            room = np.linalg.norm((place + _TO_ATOM * around)[:, None] - full, axis=-1).min(1)
            away = around[room.argmax()]
        away /= np.linalg.norm(away)
        chirality = f" ({atom.GetProp('_CIPCode')})" if atom.HasProp("_CIPCode") else ""
        text = atom.GetProp("name") + chirality
        far = _TO_ATOM + 0.4 * _LETTER * max(0, len(text) - 2) * abs(away[0])
        labels.append((place + far * away, text, f"{_ATOM};{_HALO}"))
    return labels


def _label_bonds(
    xy: np.ndarray, taken: Sequence[np.ndarray], about: Mapping[str, tuple[int, int]]
) -> list[tuple[np.ndarray, str, str]]:
    """Place the names of torsions on the emptier side of their bonds (i, j)."""
    labels, full, middle = [], [*xy, *taken], xy.mean(0)
    for name, (i, j) in about.items():
        text, at = style.symbol(name), 0.5 * (xy[i] + xy[j])
        half = 0.5 * _LETTER * len(text)
        across = np.array([xy[i, 1] - xy[j, 1], xy[j, 0] - xy[i, 0]])
        across /= np.linalg.norm(across)
        best, chosen = -np.inf, []
        for side in (across, -across):
            for off in (_NEARER, _FARTHER):
                place = at + side * (off + abs(side[0]) * half)
                box = [place + np.array([part * half, 0.0]) for part in (0, -1, -0.5, 0.5, 1)]
                room = min(float(np.linalg.norm(full - point, axis=1).min()) for point in box)
                room += _OUTWARD * float(side @ (at - middle) > 0.0) - 0.3 * off
                if room > best:
                    best, chosen = room, box
        full += chosen
        labels.append((chosen[0], text, f"{_NAME};{_HALO}"))
    return labels


def _format(place: np.ndarray, text: str, look: str) -> str:
    return (
        f'<text x="{place[0]:.1f}" y="{place[1]:.1f}" dy="0.35em" text-anchor="middle" '
        f'style="{look}">{escape(text)}</text>\n'
    )
