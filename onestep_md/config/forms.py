"""The forms in which a molecule can be given, each named by one key of `target`.

A form has files or names of its own beside its key: coordinates, parameters, a solvent. Exactly
one form is given, whole, and nothing that belongs to another one.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from onestep_md.config.source import Key
from onestep_md.config.types import either

PDB = (
    "PDB file of one molecule with all its hydrogens; the path starts at the folder of the YAML "
    "file. Its atom order is the order of all output."
)


@dataclass(frozen=True)
class Form:
    """One way to give a molecule.

    Attributes:
        key: the key that chooses it.
        coordinates: keys of files with the input geometry; one of them is needed.
        needed: further keys that it needs.
        other: further keys that it may have.
    """

    key: str
    coordinates: tuple[str, ...] = ()
    needed: tuple[str, ...] = ()
    other: tuple[str, ...] = ()

    @property
    def keys(self) -> tuple[str, ...]:
        """All keys that it may have."""
        return (self.key, *self.coordinates, *self.needed, *self.other)


# where the key of one form is a further key of another, the other stands first
FORMS = (
    Form("smiles", other=("forcefield", "solvent", "charges", "constraints")),
    Form("file", other=("forcefield", "solvent", "charges", "constraints")),
    Form("peptide", needed=("forcefield",), other=("cyclic", "disulfides", "constraints")),
    Form("prmtop", coordinates=("inpcrd", "pdb"), needed=("solvent",), other=("constraints",)),
    Form("top", ("gro", "pdb"), needed=("solvent",), other=("include", "constraints")),
    Form("psf", ("crd", "pdb"), needed=("params", "solvent"), other=("constraints",)),
    Form("system", coordinates=("pdb",)),
    Form("forcefield", coordinates=("pdb",), other=("constraints",)),
)
KEYS = tuple(dict.fromkeys(key for form in FORMS for key in form.keys))
_WORDS = ("smiles", "charges", "solvent", "constraints", "peptide", "cyclic", "disulfides")
FILES = tuple(key for key in KEYS if key not in _WORDS)  # keys that name files
# what each needed key is for, where it is missing
_NEEDED = {
    "solvent": "vacuum, hct, obc1, obc2, gbn or gbn2",
    "forcefield": "files such as [amber14/protein.ff14SB.xml, implicit/obc2.xml]",
    "params": "the list of its parameter files (.prm, .rtf, .str)",
}
# what a run folder keeps of a molecule, in whatever form it was given
IN_RUN_FOLDER: Mapping[str, str] = {"pdb": "input.pdb", "system": "system.xml"}


def keys_in_run_folder() -> dict[str, str | None]:
    """Return the keys of a target whose files are those of its run folder."""
    return {**dict.fromkeys(KEYS), "constraints": "none", **IN_RUN_FOLDER}


def find_form(target: Mapping[str, Any]) -> Form | None:
    """Return the form that a target is given in, the first of several; None if in none."""
    return next((form for form in FORMS if target.get(form.key)), None)


def main_file(target: Mapping[str, Any]) -> str | None:
    """Return the file that a molecule is called by."""
    form = find_form(target)
    return target.get("pdb") or (target[form.key] if form else None)


def check_form(target: Mapping[str, Any]) -> Iterator[tuple[Key, str]]:
    """Yield key and message of mistakes in the form of a molecule; wrong keys are absent."""
    if any(form.key not in target for form in FORMS):
        return
    form = find_form(target)
    if form is None:
        if "pdb" in target and not target["pdb"]:
            yield ("target", "pdb"), f"target.pdb is missing. {PDB}"
        yield (
            ("target", "forcefield"),
            "target.forcefield is missing. Give force-field files such as "
            "[amber99sbildn.xml, amber99_obc.xml], or target.system.",
        )
        return
    if form.key == "forcefield" and all(map(_is_for_ligands, target["forcefield"])):
        message = "target.forcefield: [{}] is for ligands: name their file in target.file."
        yield ("target", "forcefield"), message.format(", ".join(target["forcefield"]))
        return
    yield from _check_no_other(form, target)
    yield from _check_coordinates(form, target)
    if form.key in ("smiles", "file"):
        yield from _check_ligand(form, target)
    for key in form.needed:
        if key in target and not target[key]:
            message = f"target.{key} is missing. target.{form.key} needs it: {_NEEDED[key]}."
            yield ("target", form.key), message


def _check_no_other(form: Form, target: Mapping[str, Any]) -> Iterator[tuple[Key, str]]:
    for other in FORMS:
        if target[other.key] and other.key not in form.keys:
            first, second = sorted((form.key, other.key))
            message = f"target.{first} and target.{second} are both given; keep one of them."
            yield ("target", second), message
            return
    if target.get("constraints", "none") != "none" and "constraints" not in form.keys:
        message = f'target.constraints = "hbonds" has no effect on target.{form.key}; remove it.'
        yield ("target", "constraints"), message
    for key in KEYS:
        if key != "constraints" and target.get(key) and key not in form.keys:
            message = f"target.{key} does not go with target.{form.key}; remove it"
            if key == "solvent" and form.key in ("forcefield", "peptide"):
                message += ", and name a file such as implicit/obc2.xml in target.forcefield"
            yield ("target", key), f"{message}."


def _check_coordinates(form: Form, target: Mapping[str, Any]) -> Iterator[tuple[Key, str]]:
    files = form.coordinates
    if not files or any(key not in target for key in files):
        return
    given = [key for key in files if target[key]]
    if not given and files == ("pdb",):
        yield ("target", "pdb"), f"target.pdb is missing. {PDB}"
    elif not given:
        names = either([f"target.{key}" for key in files])
        message = f"target.{form.key} needs the coordinates of its atoms; give {names}."
        yield ("target", form.key), message
    elif len(given) > 1:
        message = f"target.{given[0]} and target.{given[1]} are both given; keep one of them."
        yield ("target", given[1]), message


def _is_for_ligands(forcefield: str) -> bool:
    """Whether a force field is GAFF or one of OpenFF."""
    return forcefield in ("gaff", "gaff2") or forcefield.endswith(".offxml")


def _check_ligand(form: Form, target: Mapping[str, Any]) -> Iterator[tuple[Key, str]]:
    names = list(target.get("forcefield") or [])
    if "forcefield" in target and not (len(names) == 1 and _is_for_ligands(names[0])):
        yield (
            ("target", "forcefield"),
            f"target.{form.key} needs target.forcefield: [gaff2] or [gaff], which have parameters "
            "for any organic molecule.",
        )
    if "solvent" in target and not target["solvent"]:
        message = f"target.solvent is missing. target.{form.key} needs it: obc2, gbn2 or vacuum."
        yield ("target", "solvent"), message
    elif target.get("solvent") not in (None, "obc2", "gbn2", "vacuum"):
        message = f"target.solvent = {target['solvent']} is none of target.{form.key}; take obc2, "
        yield ("target", "solvent"), message + "gbn2 or vacuum."
