"""Refined samples and a chain of a trained flow, against a density that is known."""

import numpy as np
import pytest
import torch

import onestep_md
from onestep_md.errors import ConfigError
from onestep_md.sampling.bridge import pass_file

SETTINGS = {
    "target": {"kind": "density", "name": "gmm9"},
    "exploration": {"particles": 600, "moves": 2},
    "flow": {"layers": 2, "width": 16},
    "train": {"steps": 12, "batch": 64, "regression_batch": 32, "buffer": 500},
    "sample": {"n": 400, "steps": [0, 1]},
}


@pytest.fixture(scope="module")
def sampler(tmp_path_factory):
    with onestep_md.train(SETTINGS, tmp_path_factory.mktemp("run") / "gmm9") as trained:
        yield trained


def populations(sampler, x):
    modes = sampler.target.source.density.modes
    nearest = torch.cdist(torch.from_numpy(x), modes).argmin(1).numpy()
    return np.bincount(nearest, minlength=len(modes)) / len(x)


def test_refined_samples_have_the_known_log_z_and_modes(sampler):
    found = sampler.refine(2000, moves=4, seed=1)
    assert abs(found.log_z.value) < 4.0 * found.log_z.error < 0.3
    exact = sampler.target.source.density.sample(20_000, torch.Generator().manual_seed(0)).numpy()
    error = np.sqrt(1.0 / 9.0 / (found.founders / 2.0))
    np.testing.assert_allclose(
        populations(sampler, found.x), populations(sampler, exact), atol=4.0 * error
    )
    np.testing.assert_allclose(found.x.std(0), exact.std(0), rtol=0.1)
    np.testing.assert_allclose(sampler.log_prob(found.x), found.log_q, atol=1e-9)
    assert 500 < found.founders < 2000.1 and found.evaluations >= 2000 * 5
    assert (np.diff(found.founder) >= 0).all() and (found.as_samples().log_w == 0.0).all()


def test_a_chain_of_one_step_proposals_samples_the_known_density(sampler):
    chain = sampler.chain(20_000, seed=2)
    assert len(chain.x) == len(chain.u) == 20_000
    exact = sampler.target.source.density.sample(20_000, torch.Generator().manual_seed(0)).numpy()
    np.testing.assert_allclose(
        populations(sampler, chain.x), populations(sampler, exact), atol=0.015
    )
    np.testing.assert_allclose(chain.x.std(0), exact.std(0), rtol=0.03)
    # a flow that is nearly exact is nearly always accepted
    assert chain.acceptance > 0.6 and 1.0 <= chain.inefficiency < 3.0
    moved = np.abs(np.diff(chain.x, axis=0)).max(1) > 0.0
    assert moved.mean() == pytest.approx(chain.acceptance, abs=1e-3)


def test_too_few_particles_are_refused(sampler):
    with pytest.raises(ConfigError, match="512"):
        sampler.refine(100)


def test_whatever_changes_a_bridge_changes_its_file(sampler, tmp_path):
    arguments = ("target", 512, 2, 3)
    others = [("other", 512, 2, 3), ("target", 600, 2, 3), ("target", 512, 1, 3)]
    others.append(("target", 512, 2, 4))
    names = {pass_file(tmp_path, sampler.parts, *each) for each in (arguments, *others)}
    assert len(names) == 5 and pass_file(tmp_path, sampler.parts, *arguments) in names
    with torch.no_grad():
        weights = next(iter(sampler.parts.flow.parameters()))
        weights += 1.0
        try:
            assert pass_file(tmp_path, sampler.parts, *arguments) not in names
        finally:
            weights -= 1.0
