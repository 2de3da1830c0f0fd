"""The residues that a sequence names, by the templates of a force field."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from onestep_md.errors import TargetError
from onestep_md.targets.checks import D_RESIDUES

_LINKS = {"N", "C"}  # atoms by which residues of a peptide are bonded to each other
SULFUR = "SG"  # the atom of a disulfide
_PAIRED = {"CYS": "CYX"}  # residue -> its template in a disulfide
# name in the PDB -> template in force fields that do not have the name, and what that means
_OTHERS = {
    "HIS": ("HIE", "with its hydrogen at NE2; HID and HIP are the other forms"),
    "NH2": ("NHE", "the amide cap"),
}
_LETTERS = dict(
    zip(
        "ARNDCQEGHILKMFPSTWYV",
        "ALA ARG ASN ASP CYS GLN GLU GLY HIS ILE LEU LYS MET PHE PRO SER THR TRP TYR VAL".split(),
        strict=True,
    )
)


@dataclass(frozen=True)
class Residue:
    """One residue of a sequence.

    Attributes:
        name: in the input and in output.
        kind: the L residue that it is or mirrors.
        template: in the force field; that of an end has a prefix.
        mirrored: whether it is the mirror image of the template.
    """

    name: str
    kind: str
    template: str
    mirrored: bool


@dataclass(frozen=True)
class Chain:
    """The residues of a peptide and what connects them.

    Attributes:
        residues: from the N- to the C-terminus.
        cyclic: whether the ends are bonded.
        disulfides: pairs of residues, counted from 0.
        notes: what was chosen, a sentence each.
    """

    residues: tuple[Residue, ...]
    cyclic: bool
    disulfides: tuple[tuple[int, int], ...]
    notes: tuple[str, ...]


def read_sequence(
    text: str, cyclic: bool, pairs: Sequence[Sequence[int]], templates: Mapping[str, Any]
) -> Chain:
    """Find the template of every residue.

    Args:
        text: names of residues, joined by dashes.
        cyclic: whether the ends are bonded.
        pairs: residues with a disulfide between them, counted from 1.
        templates: of the force field, by name.

    Raises:
        TargetError: there is none for a residue in its place, or a disulfide cannot be.
    """
    names = [name.strip().upper() for name in text.split("-")]
    if cyclic and len(names) < 2:
        raise TargetError(
            "target.cyclic: a ring of one residue does not exist; name two or more in "
            "target.peptide."
        )
    paired = {number - 1 for pair in pairs for number in pair}
    notes: list[str] = []
    residues = []
    for place, name in enumerate(names):
        kind, mirrored = _find_kind(name, place, names, templates, notes)
        if kind in _PAIRED and place in paired:
            kind = _PAIRED[kind]
            if kind not in templates:
                raise TargetError(
                    f"target.disulfides: the force field has no template {kind}, the cysteine of "
                    "a disulfide; name force-field files that have it in target.forcefield."
                )
        wanted = set(_LINKS)
        if not cyclic:
            wanted -= ({"N"} if place == 0 else set()) | (
                {"C"} if place == len(names) - 1 else set()
            )
        template = _find_template(kind, wanted, place, names, cyclic, templates)
        residues.append(Residue(name, kind, template, mirrored))
    ends = [
        f"{residue.name}:{place + 1} by template {residue.template}"
        for place, residue in enumerate(residues)
        if residue.template != residue.kind
    ]
    if ends:
        notes.append(f"charged ends: {', '.join(ends)}; ACE and NME are neutral caps")
    mirrors = [
        f"{residue.name}:{place + 1} of {residue.kind}"
        for place, residue in enumerate(residues)
        if residue.mirrored
    ]
    if mirrors:
        notes.append(f"D residues by mirror images of templates: {', '.join(mirrors)}")
    disulfides = _find_disulfides(residues, pairs, templates, notes)
    return Chain(tuple(residues), cyclic, disulfides, tuple(notes))


def _find_kind(
    name: str,
    place: int,
    names: Sequence[str],
    templates: Mapping[str, Any],
    notes: list[str],
) -> tuple[str, bool]:
    """Find the template of a residue inside of a chain, and whether it is mirrored."""
    mirrored = name in D_RESIDUES and name not in templates
    kind = D_RESIDUES[name] if mirrored else name
    if kind in _OTHERS and kind not in templates:
        kind, meaning = _OTHERS[kind]
        if kind in templates:
            notes.append(f"{name}:{place + 1} is taken as {kind}, {meaning}")
    if kind in templates and _links(kind, templates):
        # a template of an end, by its full name
        inner = kind[1:] if len(kind) == 4 and kind[0] in _LINKS else kind
        return (inner if inner in templates else kind), mirrored
    where = f"target.peptide: residue {place + 1}, {names[place] or 'without a name'},"
    if kind in templates:
        raise TargetError(
            f"{where} has no bond by N or C in the force field, so it is no residue of a "
            "peptide; give a molecule with it as target.pdb."
        )
    letters = "".join(names) if len(names) in (1, len("".join(names))) else ""
    if letters and set(letters) <= _LETTERS.keys():
        spelled = "-".join(_LETTERS[letter] for letter in letters)
        raise TargetError(
            f"{where} has no template in the force field; if these are one-letter codes, write "
            f"{spelled}."
        )
    known = [
        each for each in templates
        if _links(each, templates) and not (len(each) == 4 and each[1:] in templates)
    ]  # fmt: skip
    close = difflib.get_close_matches(name, [*known, *D_RESIDUES], n=1)
    guess = f" Did you mean `{close[0]}`?" if close else ""
    raise TargetError(
        f"{where} has no template in the force field, which has {', '.join(sorted(known))} and "
        "the D residues of these by their names in the PDB; take one of them, or add a file with "
        f"the residue to target.forcefield.{guess}"
    )


def _links(name: str, templates: Mapping[str, Any]) -> set[str]:
    """Return the atoms of a template that are bonded to the next residues of a peptide."""
    return _outer_atoms(name, templates) & _LINKS


def _outer_atoms(name: str, templates: Mapping[str, Any]) -> set[str]:
    template = templates[name]
    return {template.atoms[k].name for k in template.externalBonds}


def _find_template(
    kind: str,
    wanted: set[str],
    place: int,
    names: Sequence[str],
    cyclic: bool,
    templates: Mapping[str, Any],
) -> str:
    """Find the template of a residue with bonds to neighbours by the wanted atoms alone."""
    for prefix in ("", "N", "C"):
        template = prefix + kind
        if template in templates and _links(template, templates) == wanted:
            return template
    name = names[place]
    where = f"target.peptide: residue {place + 1}, {name},"
    own = _links(kind, templates)
    if not wanted <= own:
        if cyclic:
            raise TargetError(
                f"{where} is a cap, and target.cyclic joins the ends: leave out ACE and NME, or "
                "target.cyclic."
            )
        end = "first" if own == {"C"} else "last"
        raise TargetError(f"{where} is a cap and can only stand {end}; leave it out elsewhere.")
    if not wanted:
        raise TargetError(
            f"{where} stands alone, and the force field has no template of an amino acid with "
            f"two charged ends; cap it, as in ACE-{name}-NME."
        )
    end, prefix, cap = ("last", "C", "NME") if wanted == {"N"} else ("first", "N", "ACE")
    way = f"add a cap, such as {cap}" if cap in templates else "take one with caps"
    raise TargetError(
        f"{where} stands {end}, and the force field has no template {prefix}{kind} of a charged "
        f"end; {way}, or add a force-field file that has the template."
    )


def _find_disulfides(
    residues: Sequence[Residue],
    pairs: Sequence[Sequence[int]],
    templates: Mapping[str, Any],
    notes: list[str],
) -> tuple[tuple[int, int], ...]:
    """Check the pairs of cysteines, or choose them where there is one choice alone."""
    open_sulfurs = [
        place for place, residue in enumerate(residues)
        if SULFUR in _outer_atoms(residue.template, templates)
    ]  # fmt: skip
    seen: set[int] = set()
    for pair in pairs:
        for number in pair:
            where = f"target.disulfides: {list(pair)}"
            if not 1 <= number <= len(residues):
                raise TargetError(
                    f"{where}: there is no residue {number}; target.peptide has "
                    f"{len(residues)}, numbered from 1, caps included."
                )
            if number - 1 not in open_sulfurs:
                raise TargetError(
                    f"{where}: residue {number} is {residues[number - 1].name}, which is no "
                    "cysteine; give the numbers of two CYS, CYX or DCY, counted from 1 with caps."
                )
            if number in seen:
                raise TargetError(
                    f"{where}: residue {number} is in a disulfide twice; each cysteine has one."
                )
            seen.add(number)
    left = [place for place in open_sulfurs if place + 1 not in seen]
    chosen = []
    if len(left) == 2 and not pairs:
        chosen = [(left[0], left[1])]
        notes.append(
            f"disulfide: residues {left[0] + 1} and {left[1] + 1}, the only two that can have it"
        )
    elif left:
        numbers = ", ".join(f"{residues[place].name}:{place + 1}" for place in left)
        raise TargetError(
            f"target.peptide: {numbers} without a partner; CYX is the cysteine of a disulfide: "
            "give every pair in target.disulfides, such as [[2, 5]], or write CYS."
        )
    elif pairs:
        notes.append("disulfides: " + ", ".join(f"{i} and {j}" for i, j in pairs))
    return tuple(chosen) or tuple((i - 1, j - 1) for i, j in pairs)
