"""Code in the files of others does not run unless it is trusted, and no other door is open."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import openmm
import pytest
import torch
import yaml
from openmm import app

from onestep_md.config import MoleculeTarget, load_config
from onestep_md.errors import CheckpointError, ConfigError, RunFolderError, TargetError
from onestep_md.exploration.explored import Exploration
from onestep_md.kinds import load_target
from onestep_md.run_folder import load_run_config
from onestep_md.targets.foreign_code import FORCES, open_forcefields, sanitise_system
from onestep_md.targets.molecule import load_molecule
from onestep_md.training.checkpoint import load_checkpoint

ROOT = Path(__file__).parents[2]
SYSTEMS = ROOT / "systems"
AMBER99 = ("amber99sbildn.xml", "amber99_obc.xml")


class Nothing:
    """A computation that adds no energy."""

    def __call__(self, state):
        return 0.0, np.zeros((22, 3))


class Writer:
    """A computation whose pickle makes a folder when it is loaded."""

    def __init__(self, folder):
        self.folder = str(folder)

    def __call__(self, state):
        return 0.0, np.zeros((22, 3))

    def __reduce__(self):
        return os.mkdir, (self.folder,)


def alanine():
    pdb = app.PDBFile(str(SYSTEMS / "alanine.pdb"))
    return app.ForceField(*AMBER99).createSystem(pdb.topology)


def serialized(*forces):
    system = alanine()
    for force in forces:
        system.addForce(force)
    return openmm.XmlSerializer.serialize(system)


def nested(force):
    outer = openmm.CustomCVForce("x")
    outer.addCollectiveVariable("x", force)
    return outer


def written(folder, text):
    """A YAML file of alanine with this System."""
    (folder / "alanine.pdb").write_text((SYSTEMS / "alanine.pdb").read_text())
    (folder / "system.xml").write_text(text)
    target = {"pdb": "alanine.pdb", "system": "system.xml", "temperature": 300.0}
    (folder / "run.yaml").write_text(yaml.safe_dump({"target": target}))
    return folder / "run.yaml"


def python_force(folder):
    return openmm.PythonForce(Writer(folder))


def run(module, *arguments):
    command = [sys.executable, "-m", f"onestep_md.{module}", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    return done.returncode, done.stderr


def test_openmm_itself_runs_the_code_of_a_python_force(tmp_path):
    openmm.XmlSerializer.deserialize(serialized(python_force(tmp_path / "made")))
    assert (tmp_path / "made").is_dir()


@pytest.mark.parametrize("wrap", [lambda force: force, nested], ids=["plain", "nested"])
def test_a_python_force_is_refused_before_it_is_read(tmp_path, wrap):
    made = tmp_path / "made"
    file = written(tmp_path, serialized(wrap(python_force(made))))
    with pytest.raises(TargetError, match="PythonForce.*target.trust: true"):
        load_target(load_config(file))
    assert not made.exists()


def test_trust_is_the_users_word_for_it(tmp_path):
    made = tmp_path / "made"
    file = written(tmp_path, serialized(python_force(made)))
    with pytest.raises(TargetError):
        load_target(load_config(file, ["target.trust=true"]))
    assert made.is_dir()
    file = written(tmp_path, serialized(openmm.PythonForce(Nothing())))
    trusted = load_target(load_config(file, ["target.trust=true"])).fingerprint.u_input
    assert trusted == load(tmp_path, AMBER99).fingerprint.u_input
    for value in ("1", "yes please", "'true'"):
        with pytest.raises(ConfigError, match="must be true or false"):
            load_config(file, [f"target.trust={value}"])


@pytest.mark.parametrize("arguments", [("--check",), (), ("--resume",)])
def test_the_command_line_runs_none_of_it(tmp_path, arguments):
    made, folder = tmp_path / "made", tmp_path / "out"
    file = written(tmp_path, serialized(python_force(made)))
    if arguments == ("--resume",):
        stranger(folder, made)
    code, said = run("run", file, "--out", folder, "--local", *arguments)
    assert code == 3 and "PythonForce" in said and "Traceback" not in said
    assert not made.exists()


def stranger(folder, made):
    """A run folder that trusts itself."""
    folder.mkdir()
    written(folder, serialized(python_force(made))).rename(folder / "config.yaml")
    (folder / "alanine.pdb").rename(folder / "input.pdb")
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config["target"]["trust"] = True
    (folder / "config.yaml").write_text(yaml.safe_dump(config))


@pytest.mark.parametrize("module", ["sample", "report"])
def test_a_run_folder_cannot_trust_itself(tmp_path, module):
    made, folder = tmp_path / "made", tmp_path / "run"
    stranger(folder, made)
    code, said = run(module, folder, *(["--local"] if module == "sample" else []))
    assert code != 0 and not made.exists()
    if module == "sample":
        assert code == 3 and "PythonForce" in said and "--trust" in said
        run(module, folder, "--local", "--trust")
        assert made.is_dir()


def test_a_density_in_a_run_folder_is_not_run(tmp_path):
    text = 'target: {kind: python, function: "evil:log_density", dim: 2, trust: true}\n'
    (tmp_path / "config.yaml").write_text(text)
    (tmp_path / "evil.py").write_text(f"import os\nos.mkdir({str(tmp_path / 'made')!r})\n")
    with pytest.raises(RunFolderError, match="evil.py.*--trust"):
        load_run_config(tmp_path)
    assert not (tmp_path / "made").exists()
    assert load_run_config(tmp_path, trust=True).target.trust


@pytest.mark.parametrize(
    "trick",
    [
        lambda text: text.replace("PythonForce", "Python&#70;orce"),
        lambda text: text.replace("<Forces>", '<!DOCTYPE a [<!ENTITY f "x">]><Forces>'),
        lambda text: text.replace('<?xml version="1.0" ?>', '<!DOCTYPE a [<!ENTITY f "Force">]>')
        .replace("PythonForce", "Python&f;"),
        lambda text: text.replace("<Forces>", "<!--").replace("</Forces>", "--><Forces/>"),
    ],
)  # fmt: skip
def test_what_is_looked_at_is_what_openmm_gets(tmp_path, trick):
    made = tmp_path / "made"
    file = written(tmp_path, trick(serialized(python_force(made))))
    try:
        load_target(load_config(file))
    except TargetError:
        pass
    assert not made.exists()


def test_the_text_of_a_system_stays_what_it_is():
    text = serialized(openmm.CustomBondForce("a & b < 1; a = r > 2; b = 1"))
    safe = sanitise_system(text, Path("system.xml"), trust=False)
    again = openmm.XmlSerializer.serialize(openmm.XmlSerializer.deserialize(safe))
    assert again == text
    assert "PythonForce" in FORCES and "NonbondedForce" in FORCES


def test_forces_of_plugins_are_named(tmp_path):
    force = '<Force file="model.pt" name="TorchForce" type="TorchForce" version="2"/></Forces>'
    file = written(tmp_path, serialized().replace("</Forces>", force))
    with pytest.raises(TargetError, match=r"TorchForce.*plug-in \(openmm-torch\).*Build the Sys"):
        load_target(load_config(file))
    with pytest.raises(TargetError, match="cannot be read by OpenMM .*written by OpenMM"):
        load_target(load_config(file, ["target.trust=true"]))


def test_a_newer_system_is_named_with_both_versions(tmp_path):
    known = 'type="HarmonicBondForce" usesPeriodic="0" version='
    text = serialized().replace(f'{known}"2"', f'{known}"9"')
    with pytest.raises(TargetError, match=f"OpenMM {openmm.__version__}: .*written by OpenMM"):
        load_target(load_config(written(tmp_path, text)))


# ---- force fields


def force_field(folder, inside, name="mine.xml"):
    (folder / name).write_text(f"<ForceField>{inside}</ForceField>")


def scripted(folder):
    return f"import os; os.mkdir({str(folder / 'made')!r})"


def load(folder, names, trust=False):
    target = MoleculeTarget(
        pdb=str(SYSTEMS / "alanine.pdb"), forcefield=names, system=None, constraints="none",
        held="amides",
        temperature=300.0,
    )  # fmt: skip
    return load_molecule(target, folder, trust)


@pytest.mark.parametrize("tag", ["Script", "InitializationScript"])
@pytest.mark.parametrize("included", [False, True])
def test_scripts_of_a_force_field_do_not_run(tmp_path, tag, included):
    script = f"<{tag}>{scripted(tmp_path)}</{tag}>"
    force_field(tmp_path, script, "inner.xml" if included else "mine.xml")
    if included:
        force_field(tmp_path, '<Include file="inner.xml"/>')
    with pytest.raises(TargetError, match=f"a {tag}, Python code.*target.trust: true"):
        load(tmp_path, (*AMBER99, "mine.xml"))
    assert not (tmp_path / "made").exists()
    load(tmp_path, (*AMBER99, "mine.xml"), trust=True)
    assert (tmp_path / "made").is_dir()


def test_values_that_openmm_evaluates_are_refused(tmp_path):
    value = f"__import__('os').mkdir({str(tmp_path / 'made')!r})"
    force = '<LennardJonesForce lj14scale="0.5" useDispersionCorrection="{}"/>'
    force_field(tmp_path, force.format(value))
    with pytest.raises(TargetError, match="evaluated as Python code. Write True or False"):
        load(tmp_path, ("mine.xml",))
    assert not (tmp_path / "made").exists()


def test_a_force_field_of_openmm_is_not_taken_from_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    script = f"<InitializationScript>{scripted(tmp_path)}</InitializationScript>"
    for name in ("amber99_obc.xml", "inner.xml"):
        force_field(tmp_path, script, name)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert load(elsewhere, AMBER99).fingerprint.solvent.startswith("implicit")
    force_field(elsewhere, '<Include file="inner.xml"/>')
    with pytest.raises(TargetError, match="inner.xml is neither a file in"):
        load(elsewhere, ("mine.xml",))
    assert not (tmp_path / "made").exists()


def test_includes_of_own_and_of_openmms_files(tmp_path):
    force_field(tmp_path, '<Include file="amber99_obc.xml"/>')
    included = load(tmp_path, ("amber99sbildn.xml", "mine.xml"))
    assert included.fingerprint.system_sha256 == load(tmp_path, AMBER99).fingerprint.system_sha256
    force_field(tmp_path, '<Include file="mine.xml"/>')  # itself
    assert len(open_forcefields(("mine.xml",), tmp_path, trust=False)) == 1


# ---- what else is read of a run folder, and YAML


def test_arrays_and_checkpoints_bring_no_code(tmp_path):
    made = tmp_path / "made"
    np.savez(tmp_path / "exploration.npz", frames=np.array([Writer(made)], dtype=object))
    with pytest.raises(RunFolderError, match="cannot read"):
        Exploration.load(tmp_path / "exploration.npz", "any")
    torch.save({"format": 3, "identity": "a", "step": 1, "state": Writer(made)}, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match="cannot read"):
        load_checkpoint(tmp_path / "a.pt", "a")
    assert not made.exists()


def test_yaml_makes_no_objects(tmp_path):
    made = tmp_path / "made"
    text = f"seed: !!python/object/apply:os.mkdir [{str(made)!r}]\n"
    (tmp_path / "run.yaml").write_text(text)
    with pytest.raises(ConfigError):
        load_config(tmp_path / "run.yaml")
    assert not made.exists()
