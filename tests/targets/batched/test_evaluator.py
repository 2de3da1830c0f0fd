"""Evaluators by torch: the contract of OpenMM's, equal digits in every batch, and their choice."""

import numpy as np
import openmm
import pytest
from alanine import hopeless_frames, load, load_system, perturbed

from onestep_md.errors import TargetError
from onestep_md.targets.batched.evaluator import BatchedEvaluator
from onestep_md.targets.evaluator import PotentialEvaluator, Segment
from onestep_md.targets.platforms import make_evaluator, time_platforms


@pytest.fixture(scope="module")
def alanine():
    return load()


@pytest.fixture(scope="module")
def batched(alanine):
    return make_evaluator(alanine, "torch")


def test_energies_are_those_of_openmm_in_double_precision(alanine, batched):
    x = perturbed(alanine, 5)
    u, grad_u = PotentialEvaluator(alanine, "Reference").evaluate(x)
    found, gradient = batched.evaluate(x)
    assert found.dtype == gradient.dtype == np.float64
    np.testing.assert_allclose(found, u, rtol=1e-9)
    np.testing.assert_allclose(gradient, grad_u, atol=1e-9 * np.abs(grad_u).max())


@pytest.mark.parametrize("cuts", [(1,), (31, 32), (64,), (150, 151)])
def test_a_row_has_the_same_digits_in_every_batch(alanine, batched, cuts):
    x = perturbed(alanine, 200)
    u, grad_u = batched.evaluate(x)
    parts = [batched.evaluate(part) for part in np.split(x, cuts)]
    np.testing.assert_array_equal(np.concatenate([part[0] for part in parts]), u)
    np.testing.assert_array_equal(np.concatenate([part[1] for part in parts]), grad_u)


def test_hopeless_frames_are_infinite_and_leave_the_others_alone(alanine, batched):
    x = hopeless_frames(alanine)
    u, grad_u = batched.evaluate(x)
    assert not np.isnan(u).any() and np.isfinite(grad_u).all()
    assert np.isposinf(u[1:6]).all() and (grad_u[np.isinf(u)] == 0).all()
    assert u[6] > 1e3
    np.testing.assert_array_equal(u[[0, 8]], np.repeat(batched.evaluate(x[:1])[0], 2))


def test_an_empty_batch_is_accepted_and_a_wrong_shape_is_not(alanine, batched):
    u, grad_u = batched.evaluate(np.empty((0, 22, 3)))
    assert u.shape == (0,) and grad_u.shape == (0, 22, 3)
    with pytest.raises(ValueError, match="expected"):
        batched.evaluate(alanine.positions)


def test_dynamics_is_that_of_the_cpu_platform(alanine, batched):
    segment = Segment(alanine.positions, None, 300.0, 20, 1.0, 1.0, 10, seed=3)
    expected = PotentialEvaluator(alanine, "CPU").run_segment(segment)
    np.testing.assert_array_equal(batched.run_segment(segment).frames, expected.frames)


def test_torch_is_no_candidate_where_a_force_is_not_known(tmp_path, alanine):
    system = openmm.XmlSerializer.deserialize(alanine.system_xml)
    bond = openmm.CustomCompoundBondForce(2, "distance(p1, p2)")
    bond.addBond([0, 1])
    system.addForce(bond)
    molecule = load_system(tmp_path, system)
    assert [name for name, _ in time_platforms(molecule).rates] == ["Reference", "CPU"]
    with pytest.raises(TargetError, match="CustomCompoundBondForce"):
        make_evaluator(molecule, "torch")


def test_a_missing_gpu_is_told(alanine, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(TargetError, match="torch-CUDA, but PyTorch sees no GPU"):
        BatchedEvaluator(alanine, "cuda")
