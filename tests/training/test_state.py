"""Numbers that a step reports of its batch."""

import math

import pytest
import torch

from onestep_md.estimators.weights import ess
from onestep_md.training.state import batch_ess, log_weight_spread


def test_equal_weights_have_no_spread_and_the_whole_ess():
    log_w = torch.full((8,), 3.0, dtype=torch.float64)
    assert log_weight_spread(log_w) == pytest.approx(0.0, abs=1e-12)
    assert batch_ess(log_w) == pytest.approx(1.0)


def test_ess_is_that_of_the_estimators():
    log_w = torch.randn(500, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    log_w[:3] = -math.inf
    assert batch_ess(log_w) == pytest.approx(ess(log_w.numpy()), rel=1e-12)


def test_a_batch_without_weights_has_no_numbers():
    none = torch.full((4,), -math.inf, dtype=torch.float64)
    assert math.isnan(batch_ess(none)) and math.isnan(log_weight_spread(none))
