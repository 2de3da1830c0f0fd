"""Molecules that no torsion turns in, and linear ones: the harmonic limit, and whole runs."""

import math
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from small_molecules import harmonic_log_z, write_molecule
from typer.testing import CliRunner

from onestep_md.analysis.records.folder import read_results
from onestep_md.config import load_config
from onestep_md.coordinates.ring_chart import fit_chart
from onestep_md.exploration.from_energy import build_force_field_chart
from onestep_md.kinds import load_target
from onestep_md.run import app
from onestep_md.sample import app as sample_app
from onestep_md.stages import open_pool

STRETCH, BEND = 4e5, 500.0  # kJ/mol/nm^2 and kJ/mol/rad^2


def row(names: str) -> dict:
    """Atoms in a row, not quite straight in the file."""
    n, elements = len(names), list(names)
    return {
        "elements": elements,
        "x": [[0.12 * i, 0.001 * (i % 2), 0.0] for i in range(n)],
        "bonds": [(i, i + 1, 0.12, STRETCH) for i in range(n - 1)],
        "angles": [(i, i + 1, i + 2, 180.0, BEND) for i in range(n - 2)],
    }


def water() -> dict:
    return {
        "elements": list("OHH"),
        "x": [[0, 0, 0], [0.096, 0, 0], [-0.024, 0.093, 0]],
        "bonds": [(0, 1, 0.096, STRETCH), (0, 2, 0.096, STRETCH)],
        "angles": [(1, 0, 2, 104.5, BEND)],
    }


def formaldehyde() -> dict:
    return {
        "elements": list("COHH"),
        "x": [[0, 0, 0], [0.12, 0, 0], [-0.055, 0.095, 0], [-0.055, -0.095, 0]],
        "bonds": [(0, 1, 0.12, STRETCH), (0, 2, 0.11, STRETCH), (0, 3, 0.11, STRETCH)],
        "angles": [(1, 0, 2, 120.0, BEND), (1, 0, 3, 120.0, BEND), (2, 0, 3, 120.0, BEND)],
        "torsions": [(1, 2, 0, 3, 2, 180.0, 40.0)],
    }


def acetonitrile() -> dict:
    turn = 2 * np.pi * np.arange(3) / 3
    methyl = np.stack([0 * turn - 0.036, 0.103 * np.cos(turn), 0.103 * np.sin(turn)], axis=1)
    return {
        "elements": list("CCNHHH"),
        "x": [[0, 0, 0], [0.146, 0, 0], [0.262, 0, 0], *methyl],
        "bonds": [(0, 1, 0.146, STRETCH), (1, 2, 0.116, STRETCH)]
        + [(0, 3 + i, 0.109, STRETCH) for i in range(3)],
        "angles": [(0, 1, 2, 180.0, BEND)]
        + [(1, 0, 3 + i, 109.5, BEND) for i in range(3)]
        + [(3 + i, 0, 3 + (i + 1) % 3, 109.5, BEND) for i in range(3)],
    }


MOLECULES = {
    "hydrogen": row("HH"),
    "carbon dioxide": row("OCO"),
    "acetylene": row("HCCH"),
    "diacetylene": row("HCCCCH"),
    "water": water(),
    "formaldehyde": formaldehyde(),
    "acetonitrile": acetonitrile(),
}


def write_case(folder, name: str, temperature: float, *lines: str):
    """Molecule and YAML file; its path."""
    files = write_molecule(folder, **MOLECULES[name])
    path = folder / "case.yaml"
    target = f"target: {{pdb: {files['pdb']}, system: {files['system']}, "
    path.write_text("\n".join((f"{target}temperature: {temperature}}}", *lines)))
    return path


@pytest.mark.parametrize("name", MOLECULES)
@pytest.mark.parametrize(("temperature", "tolerance"), [(10.0, 0.01), (300.0, 0.04)])
def test_log_z_is_that_of_the_harmonic_limit(name, temperature, tolerance, tmp_path):
    """By annealing, and by the base of a chart that is fitted to it; off by the anharmonicity."""
    annealing = "exploration: {method: annealing, particles: 1000, moves: 6, snapshots: 3}"
    config = load_config(write_case(tmp_path, name, temperature, annealing))
    target = load_target(config)
    molecule = target.molecule
    evaluators = open_pool(config, [target], local=True, address=None)
    chart, display = build_force_field_chart(molecule), Mock()
    n = len(molecule.elements)
    assert (chart.n_linear, chart.n_circular) == (max(1, 3 * n - 6), 0)
    found = target.explore(config, evaluators, display)
    (summary,) = display.say.call_args.args
    annealed, error = map(float, summary.split("log Z = ")[1].split(" +- "))
    expected = harmonic_log_z(molecule)
    assert abs(annealed - expected) < tolerance + 4.0 * error

    q, _ = chart.coordinates.from_cartesian(torch.from_numpy(found.frames))
    fitted = fit_chart(chart.coordinates, q, ())
    s = fitted.sample_base(4000, torch.Generator().manual_seed(1))
    x, log_det = fitted.to_x(s)
    log_w = log_det - torch.from_numpy(evaluators.evaluate(x.numpy())[0]) - fitted.log_base(s)
    w = torch.exp(log_w - expected)
    assert w.sum().square() / w.square().sum() > 0.93 * len(w)
    assert abs(math.log(w.mean())) < tolerance + 4.0 * w.std() / w.mean() / len(w) ** 0.5


TINY = (
    "flow: {layers: 2, width: 16}",
    "train: {steps: 4, batch: 32, regression_batch: 16, buffer: 200}",
    "sample: {n: 200, steps: [0, 1]}",
)
DYNAMICS = "exploration: {temperatures: [300, 400], duration: 12, equilibration: 2}"
ANNEALING = "exploration: {method: annealing, particles: 200, moves: 4}"
IN_POSITIONS = (
    "flow: {coordinates: cartesian, layers: 2, width: 8}",
    "train: {steps: 2, batch: 16, regression_batch: 16, buffer: 200, pretraining: 5}",
    "sample: {n: 100, steps: [0, 1]}",
)


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("formaldehyde", (DYNAMICS, *TINY)),
        ("carbon dioxide", (DYNAMICS, *TINY)),
        ("hydrogen", (ANNEALING, *TINY)),
        ("carbon dioxide", (ANNEALING, *IN_POSITIONS)),
    ],
)
def test_runs_from_end_to_end(name, lines, tmp_path):
    path, folder = write_case(tmp_path, name, 300.0, *lines), tmp_path / "run"
    done = CliRunner().invoke(app, [str(path), "--out", str(folder), "--local"])
    assert done.exit_code == 0, done.output
    assert "T-W2" not in done.output and "rigid" in done.output
    results = read_results(folder)
    expected = harmonic_log_z(load_target(load_config(path)).molecule)
    for evidence in results.evidence:
        outside = results.isomers.outside[evidence.steps]
        assert sum(outside.values()) == evidence.infinite
        log_z = evidence.log_z
        assert abs(log_z.value - expected) < 0.1 + 4.0 * log_z.error
    page = (folder / "report.html").read_text()
    assert "T-W2" not in page and "E-W2" in page
    more = ["--n", "100", "--steps", "1", "--local", "--out", str(tmp_path / "more")]
    done = CliRunner().invoke(sample_app, [str(folder), *more])
    assert done.exit_code == 0, done.output
