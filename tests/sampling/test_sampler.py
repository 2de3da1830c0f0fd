"""Trained samplers on their own: what is read is what was written, and nothing else is read."""

import json
import zipfile
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import torch

from onestep_md.config import load_config
from onestep_md.coordinates.ring_chart import RingChart
from onestep_md.errors import RunFolderError
from onestep_md.kinds import load_target
from onestep_md.run_folder import load_run_config
from onestep_md.sampling.draw import draw_samples, log_weights_at
from onestep_md.sampling.model import build_model
from onestep_md.sampling.old_models import PARTS, old_chart_facts
from onestep_md.sampling.sampler import NAME, load_sampler, sampler_of, save_sampler
from onestep_md.stages import open_pool

SYSTEMS = Path(__file__).parents[2] / "systems"
OLD = sorted(path.parent for path in Path(__file__).parent.glob("old/*/model.pt"))
FINISHED = sorted(path.parent for path in SYSTEMS.glob("models/*/model.pt"))
SMALL = ["exploration.particles=400", "exploration.moves=1", "flow.layers=2", "flow.width=8"]
RINGS = "molecules/methylcyclohexane"
# every kind of chart
RUNS = {
    "flat": ("gmm9", []),
    "particles": ("dw4", []),
    "internal": ("alanine", ["exploration.method=annealing", "exploration.snapshots=1"]),
    "rings": (
        RINGS,
        [
            "exploration.method=annealing",
            "exploration.snapshots=1",
            "exploration.moves=3",
            "exploration.particles=2000",
        ],
    ),
    "molecular": ("alanine-cartesian", ["exploration.method=annealing"]),
    "positions": ("alanine-gaussian", ["exploration.method=annealing"]),
}


def trained(system, options):
    config = load_config(SYSTEMS / f"{system}.yaml", SMALL + options)
    target = load_target(config)
    evaluators = open_pool(config, [target], local=True, address=None)
    model = build_model(config, target, target.explore(config, evaluators, Mock()))
    with torch.no_grad():
        for parameter in model.state.teacher.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape))
    return config, target, model


@pytest.mark.parametrize(("system", "options"), RUNS.values(), ids=RUNS.keys())
def test_a_stored_sampler_draws_the_same(system, options, tmp_path):
    config, target, model = trained(system, options)
    save_sampler(tmp_path, model)
    assert (tmp_path / NAME).stat().st_size < 5e6
    found, made = load_sampler(config, target, tmp_path), sampler_of(model)
    assert (system == RINGS) == isinstance(found.chart, RingChart)
    z = made.chart.sample_base(20, torch.Generator().manual_seed(0))
    for name, sampler in (("made", made), ("found", found)):
        s, log_det = sampler.flow(z, 1)
        x, log_det_chart = sampler.chart.to_x(s)
        back, _ = sampler.chart.from_x(x)
        result = torch.cat([x.flatten(1), back, (log_det + log_det_chart)[:, None]], dim=-1)
        if name == "made":
            expected = result
    assert torch.equal(result, expected)
    assert not any(parameter.requires_grad for parameter in found.flow.parameters())
    assert np.isin(found.held_out.u, made.held_out.u).all()
    assert found.held_out.x.shape[1:] == made.held_out.x.shape[1:]


def test_what_cannot_be_read_is_told(tmp_path):
    config, target, model = trained("gmm9", [])
    with pytest.raises(RunFolderError, match="holds no trained flow yet"):
        load_sampler(config, target, tmp_path)
    save_sampler(tmp_path, model)
    other = load_config(SYSTEMS / "gmm9.yaml", [*SMALL, "flow.width=16"])
    with pytest.raises(RunFolderError, match="another target or architecture"):
        load_sampler(other, target, tmp_path)
    path = tmp_path / NAME
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(RunFolderError, match="cannot read"):
        load_sampler(config, target, tmp_path)


def test_code_in_the_file_is_not_run(tmp_path):
    config, target, model = trained("gmm9", [])
    save_sampler(tmp_path, model)
    torch.save({"format": 1, "chart": Path("harmless")}, tmp_path / NAME)
    with pytest.raises(RunFolderError, match="cannot read"):
        load_sampler(config, target, tmp_path)


def test_the_file_names_no_class(tmp_path):
    _, _, model = trained(*RUNS["internal"])
    save_sampler(tmp_path, model)
    with zipfile.ZipFile(tmp_path / NAME) as archive:
        (pickled,) = (name for name in archive.namelist() if name.endswith("data.pkl"))
        assert b"onestep_md" not in archive.read(pickled)


def test_a_newer_format_and_a_damaged_chart_are_told(tmp_path):
    config, target, model = trained("gmm9", [])
    save_sampler(tmp_path, model)
    content = torch.load(tmp_path / NAME, weights_only=True)
    torch.save(content | {"format": 99}, tmp_path / NAME)
    with pytest.raises(RunFolderError, match="format 99"):
        load_sampler(config, target, tmp_path)
    del content["chart"]["mix"]
    torch.save(content, tmp_path / NAME)
    with pytest.raises(RunFolderError, match="cannot read.*mix"):
        load_sampler(config, target, tmp_path)


@pytest.mark.parametrize("folder", OLD, ids=lambda folder: folder.name)
def test_models_of_older_versions_draw_what_they_drew(folder):
    config = load_run_config(folder)
    sampler = load_sampler(config, load_target(config), folder)
    expected = np.load(folder / "expected.npz")
    z = sampler.chart.sample_base(4, torch.Generator().manual_seed(0))
    s, log_det = sampler.flow(z, 1)
    x, log_det_chart = sampler.chart.to_x(s)
    # the eigenvectors of no matrix are made again: differences are those of rounding
    np.testing.assert_allclose(x, expected["x"], rtol=0, atol=1e-9)
    np.testing.assert_allclose(log_det + log_det_chart, expected["log_det"], rtol=0, atol=1e-7)


def test_a_flat_chart_of_the_first_format_is_refused():
    with torch.serialization.safe_globals(PARTS):
        path = Path(__file__).parent / "old" / "format2-flat" / NAME
        chart = torch.load(path, weights_only=True)["chart"]
    del chart.marginals.left
    with pytest.raises(ValueError, match="train it again"):
        old_chart_facts(chart, ())


@pytest.mark.parametrize("folder", FINISHED, ids=lambda folder: folder.name)
def test_finished_models_draw_samples_of_their_targets(folder):
    config = load_run_config(folder)
    target = load_target(config)
    sampler = load_sampler(config, target, folder)
    evaluators = open_pool(config, [target], local=True, address=None)
    samples = draw_samples(
        sampler.flow, sampler.chart, evaluators, 200, 1, torch.Generator().manual_seed(0)
    )
    assert np.isfinite(samples.log_w).sum() > 100
    # weights of the target's own samples and of the flow's are of one size
    held_out = sampler.held_out
    x, u = held_out.x[:200], held_out.u[:200]
    generator = torch.Generator().manual_seed(1)
    log_w = log_weights_at(sampler.flow, sampler.chart, x, u, 1, generator)
    assert -5.0 < log_w.mean() - np.median(samples.log_w) < 20.0
    assert sum(path.stat().st_size for path in folder.iterdir()) < 5e6
    assert json.loads((folder / "environment.json").read_text())["command"].startswith("python -m")
