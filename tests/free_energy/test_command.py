"""The command on the shipped sampler: states, files, what is refused, and going on."""

import json
import signal
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from onestep_md.analysis.records.free_energies import read_free_energies
from onestep_md.analysis.records.thermodynamics import read_along_temperature
from onestep_md.config import load_config
from onestep_md.errors import ConfigError, Interrupted, OneStepError, RunFolderError, TargetError
from onestep_md.estimators.estimate import Estimate
from onestep_md.free_energy import compute
from onestep_md.free_energy.__main__ import app
from onestep_md.sampling.bridge import Bridged
from onestep_md.targets.molecule import KB

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "systems" / "models" / "alanine-cartesian"
FF03 = "ff03:target.forcefield=[amber03.xml, amber03_obc.xml]"

SAME = "same:target.temperature=300.0"


def command(*arguments, expect=None):
    """Run it without Ray; the error it ends with, or its output."""
    done = CliRunner().invoke(app, [str(MODEL), "--local", *map(str, arguments)])
    if expect is None:
        assert done.exit_code == 0, done.output
        return done.output
    assert isinstance(done.exception, expect), done.output
    return str(done.exception)


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    out = tmp_path_factory.mktemp("compared") / "free"
    states = ["--set-state", FF03, "--set-state", SAME, "--temperatures", "310"]
    states += ["--bridge", "never"]
    return out, command("--n", 1000, *states, "--out", out)


def test_states_have_free_energies_with_errors(compared):
    out, said = compared
    found = read_free_energies(out)
    own, ff03, same, warm = found.states
    assert [state.name for state in found.states] == ["own", "ff03", "same", "310K"]
    assert own.delta_f.value == own.delta_f.error == 0.0
    assert abs(same.delta_f.value) < 1e-9 and same.delta_f.error < 1e-9
    # measured with ten times the samples: 6.19 +- 0.01 kT
    assert abs(ff03.delta_f.value - 6.19) < 4.0 * ff03.delta_f.error < 0.4
    apart = np.hypot(own.log_z.error, warm.log_z.error)
    assert warm.delta_f.error < 0.5 * apart  # close states share the noise of their samples
    assert found.difference("ff03", "own").value == pytest.approx(-ff03.delta_f.value)
    assert "F(310K) - F(ff03)" in said and "good: the samples overlap" in said
    assert ff03.fingerprint["forcefield"] == ["amber03.xml", "amber03_obc.xml"]


def test_files_hold_the_samples_and_their_weights_in_every_state(compared):
    out, _ = compared
    with np.load(out / "weights.npz") as weights:
        assert set(weights) == {"own", "ff03", "same", "310K"}
        assert all(abs(row.sum() - 1.0) < 1e-9 for row in weights.values())
        own = weights["own"]
    np.testing.assert_allclose(own, np.load(out / "samples" / "weights.npy"))
    assert (out / "free_energies.png").stat().st_size > 10_000
    assert (out / "samples" / "samples.dcd").exists()
    assert json.loads((out / "free_energies.json").read_text())["format"] == 1


def test_temperatures_have_energies_entropies_and_heat_capacities(compared):
    out, said = compared
    found, states = read_along_temperature(out), read_free_energies(out).states
    own, warm = found.temperatures
    assert (own.temperature, warm.temperature) == (300.0, 310.0)
    # the molecule's own F is kT times the log Z of the other table
    kT, log_z = KB * 310.0, states[-1].log_z.value
    free_energy = found.absolute.free_energy.value + warm.molecule.free_energy.value
    assert free_energy == pytest.approx(-kT * log_z)
    # C_v of 200,000 samples of another flow: 246 +- 1 J/(mol K)
    energy = warm.molecule.energy
    assert abs(energy.value - 2.46) < 4.0 * energy.error < 1.0
    assert [row.name for row in own.regions] == list(load_config(MODEL / "config.yaml").regions)
    assert "C_v (J/mol/K)" in said and "C_v" in (out / "thermodynamics.txt").read_text()
    assert (out / "thermodynamics.png").stat().st_size > 10_000


def test_temperatures_cost_no_energies_of_another_system(compared):
    out, _ = compared
    log_w = np.log(np.load(out / "weights.npz")["310K"])
    with np.load(out / "samples" / "samples.npz") as samples:
        expected = -samples["u"] * 300.0 / 310.0 - samples["log_q"]
    finite = np.isfinite(expected)
    spread = (log_w - expected)[finite]
    assert np.ptp(spread) < 1e-6


def test_states_of_a_file_are_those_of_the_command_line(tmp_path, compared):
    (tmp_path / "far").mkdir()
    file = tmp_path / "far" / "states.yaml"
    file.write_text(
        "states:\n"
        "  ff03: {forcefield: [amber03.xml, amber03_obc.xml]}\n"
        "  same: {temperature: 300.0}\n"
        "  310K: {temperature: 310.0}\n"
    )
    command("--n", 1000, "--bridge", "never", "--out", tmp_path / "free", file)
    ours, theirs = read_free_energies(tmp_path / "free"), read_free_energies(compared[0])
    assert [state.delta_f for state in ours.states] == [state.delta_f for state in theirs.states]
    assert [s.evaluations for s in ours.states] == [s.evaluations for s in theirs.states]
    assert len(read_along_temperature(tmp_path / "free").temperatures) == 2


def test_paths_in_a_file_of_states_start_at_its_folder(tmp_path):
    (tmp_path / "own.xml").write_text((MODEL / "system.xml").read_text())
    (tmp_path / "states.yaml").write_text("states: {copy: {system: own.xml}}\n")
    command("--n", 1000, "--bridge", "never", "--out", tmp_path / "free", tmp_path / "states.yaml")
    own, copy = read_free_energies(tmp_path / "free").states
    assert copy.delta_f.value == 0.0


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (["--set-state", "h:target.constraints=hbonds"], TargetError, "bonds of fixed length"),
        (["--set-state", "h:target.forcefield=[no.xml]"], TargetError, "state h: .*no.xml"),
        (["--set-state", "h=3"], ConfigError, "NAME:target.KEY=VALUE"),
        (["--set-state", "h:train.steps=3"], ConfigError, "keys of the target alone"),
        (["--set-state", "own:target.temperature=310"], ConfigError, "a name of its own"),
        (["--temperatures", "warm"], ConfigError, "must be numbers"),
        (["--temperatures", "-5"], ConfigError, "is no temperature"),
        ([ROOT / "systems" / "trialanine.yaml"], TargetError, "42 atoms, and .* 22"),
        ([ROOT / "systems" / "gmm9.yaml"], TargetError, "no molecule"),
        (["no-file.yaml"], ConfigError, "no-file.yaml"),
        (["twice.yaml", "--set-state", FF03], ConfigError, "ff03: every state needs a name"),
        (["--set-state", SAME, "--temperatures", "310,310"], ConfigError, "310K: every state"),
    ],
)
def test_states_of_other_configurations_are_refused(
    tmp_path, monkeypatch, arguments, error, words
):
    import re

    monkeypatch.chdir(tmp_path)
    Path("twice.yaml").write_text("states: {ff03: {temperature: 310}}\n")
    said = command(*arguments, "--out", tmp_path / "free", expect=error)
    assert re.search(words, said), said
    assert not (tmp_path / "free").exists()


def test_atoms_in_another_order_are_refused(tmp_path):
    lines = (MODEL / "input.pdb").read_text().splitlines()
    atoms = [i for i, line in enumerate(lines) if line.startswith(("ATOM", "HETATM"))]
    first, second = atoms[1], atoms[2]
    lines[first], lines[second] = lines[second], lines[first]
    (tmp_path / "swapped.pdb").write_text("\n".join(lines) + "\n")
    state = f"swapped:target.pdb={tmp_path / 'swapped.pdb'}"
    said = command("--set-state", state, "--out", tmp_path / "free", expect=OneStepError)
    assert "order" in said or "template" in said


def test_a_command_that_is_stopped_goes_on(tmp_path, monkeypatch):
    """SIGINT in the middle of a bridge, and --resume; `sampling.bridge` tests the numbers."""
    calls = []

    def stand_in(sampler, evaluators, particles, moves, seed, progress, saved):
        calls.append(saved)
        if len(calls) == 1:
            signal.raise_signal(signal.SIGINT)
        x = sampler.held_out.x[:particles]
        u, _ = evaluators.evaluate(x)
        one = np.arange(len(u))
        return Bridged(x, u, -u, one // 32, one, Estimate(-196.0, 0.02), np.ones(1), np.ones(1), 7)

    monkeypatch.setattr(compute, "bridge", stand_in)
    arguments = ["--n", 1000, "--temperatures", "310", "--bridge", "always", "--particles", 512]
    arguments += ["--out", tmp_path / "free"]
    assert "--resume" in command(*arguments, expect=Interrupted)
    assert "by the bridge" in command(*arguments, "--resume")
    assert calls[0] == calls[1] == tmp_path / "free" / "bridges" / "310K.npz"
    assert (tmp_path / "free" / "310K" / "samples.dcd").exists()


def test_a_folder_in_use_is_refused_and_other_settings_do_not_resume(compared):
    out, _ = compared
    same = ["--set-state", FF03, "--set-state", SAME, "--temperatures", "310"]
    same += ["--bridge", "never", "--out", out]
    assert "not empty" in command("--n", 1000, *same, expect=RunFolderError)
    said = command("--n", 2000, *same, "--resume", expect=RunFolderError)
    assert "other states or settings" in said


def test_another_temperature_costs_no_energies(compared):
    own, ff03, _, warm = read_free_energies(compared[0]).states
    assert own.evaluations == 1000 < ff03.evaluations
    assert warm.evaluations == 0
