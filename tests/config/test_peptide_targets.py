"""Targets given as the names of residues."""

import pytest
from short_files import messages

from onestep_md.config import config_text, load_config, load_configs

FORCEFIELD = "forcefield: [a.xml, b.xml]"


def write_target(write, keys):
    return write(f"target: {{{keys}, temperature: 300}}\n")


def test_a_peptide_reads_back_equal(write):
    keys = f"peptide: CYX-ALA-CYX-DAL, cyclic: true, disulfides: [[1, 3]], {FORCEFIELD}"
    config = load_config(write_target(write, keys))
    target = config.molecule
    assert (target.peptide, target.cyclic, target.disulfides) == (
        "CYX-ALA-CYX-DAL",
        True,
        ((1, 3),),
    )
    assert load_config(write(config_text(config))) == config
    pdb = load_config(write_target(write, "pdb: a.pdb, forcefield: [a.xml]"))
    assert "cyclic" not in config_text(pdb)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            "peptide: ACE-ALA-NME",
            "target.forcefield is missing. target.peptide needs it: files such as "
            "[amber14/protein.ff14SB.xml, implicit/obc2.xml].",
        ),
        (
            f"peptide: ACE-ALA-NME, pdb: a.pdb, {FORCEFIELD}",
            "target.pdb does not go with target.peptide; remove it.",
        ),
        (
            f"peptide: ACE-ALA-NME, solvent: obc2, {FORCEFIELD}",
            "target.solvent does not go with target.peptide; remove it, and name a file such as "
            "implicit/obc2.xml in target.forcefield.",
        ),
        (
            f"pdb: a.pdb, cyclic: true, {FORCEFIELD}",
            "target.cyclic does not go with target.forcefield; remove it.",
        ),
        (
            "peptide: ACE-ALA-NME, smiles: CCO, forcefield: [gaff2], solvent: obc2",
            "target.peptide and target.smiles are both given; keep one of them.",
        ),
        (f"peptide: '', {FORCEFIELD}", "must be names of residues joined by dashes"),
        (f"peptide: ACE--NME, {FORCEFIELD}", "must be names of residues joined by dashes"),
        (f"peptide: [ACE, NME], {FORCEFIELD}", "must be names of residues joined by dashes"),
        (f"peptide: ALA-ALA, cyclic: 1, {FORCEFIELD}", "must be true or false"),
        (f"peptide: CYX, disulfides: [1, 6], {FORCEFIELD}", "must be pairs of numbers"),
        (f"peptide: CYX, disulfides: [[1, 6, 8]], {FORCEFIELD}", "must be pairs of numbers"),
        (f"peptide: CYX, disulfides: [[2, 2]], {FORCEFIELD}", "two different residues"),
    ],
)
def test_mistakes_name_the_way_out(write, keys, message):
    (said,) = messages(write_target(write, keys))
    assert message in said


def test_several_peptides_go_by_their_sequences(write):
    rest = f"{FORCEFIELD}, temperature: 300"
    text = f"target: [{{peptide: ACE-ALA-NME, {rest}}}, {{peptide: ACE-GLY-NME, {rest}}}]\n"
    configs = load_configs(write(text + "flow: {coordinates: cartesian}\n"))
    assert list(configs) == ["ACE-ALA-NME", "ACE-GLY-NME"]
