"""Targets given as SMILES, SDF or MOL2."""

import pytest
from short_files import messages

from onestep_md.config import config_text, load_config, load_configs
from onestep_md.errors import ConfigError


def write_target(write, keys):
    return write(f"target: {{{keys}, temperature: 300}}\n")


def test_a_ligand_has_am1bcc_charges_unless_it_says_otherwise(write):
    path = write_target(write, "smiles: CCO, forcefield: [gaff2], solvent: obc2")
    config = load_config(path)
    assert config.molecule.charges == "am1bcc" and config.molecule.pdb is None
    assert load_config(write(config_text(config))) == config
    assert load_config(path, ["target.charges=gasteiger"]).molecule.charges == "gasteiger"
    pdb = load_config(write_target(write, "pdb: a.pdb, forcefield: [amber96.xml]"))
    assert pdb.molecule.charges is None and "charges" not in config_text(pdb)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            "smiles: CCO, solvent: obc2",
            "target.smiles needs target.forcefield: [gaff2] or [gaff], which have parameters for "
            "any organic molecule.",
        ),
        (
            "file: a.sdf, forcefield: [amber96.xml], solvent: obc2",
            "target.file needs target.forcefield: [gaff2] or [gaff], which have parameters for "
            "any organic molecule.",
        ),
        (
            "smiles: CCO, forcefield: [gaff2]",
            "target.solvent is missing. target.smiles needs it: obc2, gbn2 or vacuum.",
        ),
        (
            "smiles: CCO, file: a.sdf, forcefield: [gaff2], solvent: obc2",
            "target.file and target.smiles are both given; keep one of them.",
        ),
        (
            "smiles: CCO, pdb: a.pdb, forcefield: [gaff2], solvent: obc2",
            "target.pdb does not go with target.smiles; remove it.",
        ),
        (
            "pdb: a.pdb, forcefield: [amber96.xml], solvent: obc2",
            "target.solvent does not go with target.forcefield; remove it",
        ),
        (
            "smiles: CCO, forcefield: [gaff2], solvent: tip3p",
            'target.solvent = "tip3p", must be one of vacuum, hct, obc1, obc2, gbn, gbn2',
        ),
    ],
)
def test_mistakes_name_the_way_out(write, keys, message):
    (said,) = messages(write_target(write, keys))
    assert message in said


def test_a_list_of_targets_goes_by_the_names_of_files(write):
    ligand = "forcefield: [gaff2], solvent: obc2, temperature: 300"
    cartesian = "flow: {coordinates: cartesian}\n"
    two = f"target: [{{file: a.sdf, {ligand}}}, {{file: b.mol2, {ligand}}}]\n{cartesian}"
    assert list(load_configs(write(two))) == ["a", "b"]
    smiles = two.replace("file: a.sdf", "smiles: CCO")
    with pytest.raises(ConfigError, match="target.smiles has none: give target.file"):
        load_configs(write(smiles))
