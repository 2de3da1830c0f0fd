"""A molecule is given in exactly one form, whole."""

import pytest
from short_files import messages

from onestep_md.config import load_config
from onestep_md.config.forms import main_file

GOOD = [
    "prmtop: a.prmtop, inpcrd: a.rst7, solvent: obc2",
    "prmtop: a.prmtop, pdb: a.pdb, solvent: vacuum, constraints: hbonds",
    "top: a.top, gro: a.gro, solvent: gbn2, include: ff",
    "top: a.top, pdb: a.pdb, solvent: vacuum",
    "psf: a.psf, params: [a.prm, b.str], crd: a.crd, solvent: hct",
    "pdb: a.pdb, forcefield: [a.xml], constraints: hbonds",
    "pdb: a.cif, system: a.xml",
]
SOLVENT = "vacuum, hct, obc1, obc2, gbn or gbn2."
BAD = {
    "prmtop: a.prmtop, inpcrd: a.rst7": f"target.solvent is missing. target.prmtop needs it: "
    f"{SOLVENT}",
    "top: a.top, solvent: vacuum": "target.top needs the coordinates of its atoms; give "
    "target.gro or target.pdb.",
    "psf: a.psf, crd: a.crd, solvent: vacuum": "target.params is missing. target.psf needs it: "
    "the list of its parameter files (.prm, .rtf, .str).",
    "prmtop: a.prmtop, inpcrd: a.rst7, pdb: a.pdb, solvent: vacuum": "target.inpcrd and "
    "target.pdb are both given; keep one of them.",
    "prmtop: a.prmtop, top: a.top, inpcrd: a.rst7, gro: a.gro, solvent: vacuum": "target.prmtop "
    "and target.top are both given; keep one of them.",
    "prmtop: a.prmtop, pdb: a.pdb, forcefield: [a.xml], solvent: vacuum": "target.forcefield and "
    "target.prmtop are both given; keep one of them.",
    "prmtop: a.prmtop, gro: a.gro, inpcrd: a.rst7, solvent: vacuum": "target.gro does not "
    "go with target.prmtop; remove it.",
    "pdb: a.pdb, forcefield: [a.xml], solvent: obc2": "target.solvent does not go with "
    "target.forcefield; remove it, and name a file such as implicit/obc2.xml in "
    "target.forcefield.",
    "pdb: a.pdb, system: a.xml, include: ff": "target.include does not go with "
    "target.system; remove it.",
    "smiles: CCO, forcefield: [gaff2], solvent: hct": "target.solvent = hct is none of "
    "target.smiles; take obc2, gbn2 or vacuum.",
    "forcefield: [a.xml]": "target.pdb is missing. PDB file of one molecule with all its "
    "hydrogens; the path starts at the folder of the YAML file. Its atom order is the order of "
    "all output.",
    "prmtop: a.prmtop, inpcrd: a.rst7, solvent: obc": 'target.solvent = "obc", must be one of '
    "vacuum, hct, obc1, obc2, gbn, gbn2. Did you mean `obc2`?",
}


@pytest.mark.parametrize("keys", GOOD)
def test_each_form_is_read(write, keys):
    config = load_config(write(f"target: {{{keys}, temperature: 300}}\n"))
    assert config.target.kind == "molecule"
    assert main_file(config.target.model_dump()).startswith("a.")


@pytest.mark.parametrize("keys", BAD)
def test_one_sentence_says_what_is_mixed_or_missing(write, keys):
    found = messages(write(f"target: {{{keys}, temperature: 300}}\n"))
    assert [message.partition(": ")[2] for message in found] == [BAD[keys]]
