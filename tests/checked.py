"""Files of a molecule as `--check` sees them."""

import json
import re

from commands import run_command

from onestep_md.config import MoleculeTarget
from onestep_md.targets.molecule import load_molecule

PLACE = re.compile(r"^.*run\.yaml:\d+: ")


def check(folder, target, files):
    """Check a target whose files are written before, and return what is printed.

    Args:
        folder: for the files.
        target: keys of `target`, without a temperature.
        files: names, and their text or bytes.
    """
    _write(folder, target, files)
    return run_command("run", folder / "run.yaml", "--check", "--local")


def refuse(folder, target, files, code=3):
    """Check a target that is refused, with an exit code, and return the sentence."""
    _write(folder, target, files)
    said = run_command("run", folder / "run.yaml", "--check", "--local", expect=code).strip()
    assert said.endswith((".", ")")) and "Traceback" not in said
    sentences = said.splitlines()
    assert len(sentences) == 1 or code == 2
    return PLACE.sub("", said)


def load_again(molecule, folder):
    """Load a molecule from the files that a run folder keeps, and check that it is the same."""
    (folder / "input.pdb").write_text(molecule.pdb_text)
    (folder / "system.xml").write_text(molecule.system_xml)
    target = MoleculeTarget(temperature=300.0, pdb="input.pdb", system="system.xml")
    again = load_molecule(target, folder)
    assert again.fingerprint.identity == molecule.fingerprint.identity
    assert (again.bonds, again.atom_names) == (molecule.bonds, molecule.atom_names)
    return again


def _write(folder, target, files):
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    text = json.dumps({"target": target | {"temperature": 300.0}})
    (folder / "run.yaml").write_text(text)
