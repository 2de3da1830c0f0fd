"""Samples, weights, scores and gradients of every kind of flow, compared between two devices.

The flow is on one device or the other, everything else on the CPU. All numbers are float64, so a
difference beyond rounding is a mistake.
"""

import copy
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import Parameter

from onestep_md.benchmark.gpu_models import build_rough_model, serial_evaluators
from onestep_md.benchmark.jobs import Row, Send, failure
from onestep_md.config import load_config
from onestep_md.distributed.pool import Evaluators
from onestep_md.flow import losses
from onestep_md.flow.base import Flow
from onestep_md.kinds import load_target
from onestep_md.sampling.draw import draw_samples, log_weights_at
from onestep_md.sampling.sampler import Sampler, sampler_of

PART = "numbers"
TOLERANCE = 1e-9  # absolute for numbers up to one, relative for larger ones
_STEPS = 2  # K
_FRAMES = 400


@dataclass(frozen=True)
class Kind:
    """A kind of flow: its name, the name of a YAML file, and overrides of its keys."""

    name: str
    system: str
    overrides: tuple[str, ...] = ()


KINDS = (
    Kind("internal coordinates", "alanine"),
    Kind("Cartesian, egnn", "alanine-cartesian"),
    Kind("Cartesian, e3nn", "alanine-cartesian", ("flow.network=e3nn",)),
    Kind("atoms from a Gaussian", "alanine-gaussian"),
    Kind("particles, egnn", "lj13_f1"),
    Kind("particles, e3nn", "lj13_f1", ("flow.network=e3nn",)),
    Kind("particles in the plane", "dw4"),
    Kind("flat", "gmm9", ("flow.bins=0",)),
    Kind("flat, splines", "gmm9", ("flow.bins=32",)),
)


def compare_kinds(
    kinds: tuple[Kind, ...], systems: Path, device: str, n: int, send: Send, deadline: float
) -> None:
    """Send one row for each kind of flow."""
    for kind in kinds:
        if time.time() > deadline:
            return
        try:
            send(compare_kind(kind, systems, torch.device(device), n))
        except Exception as error:
            send(failure(PART, kind.name, error))


def compare_kind(kind: Kind, systems: Path, device: torch.device, n: int) -> Row:
    """Compare the device with the CPU over n samples."""
    small = ["flow.layers=4", "flow.width=16", "train.buffer=64"]
    config = load_config(systems / f"{kind.system}.yaml", [*small, *kind.overrides])
    target = load_target(config)
    model = build_rough_model(config, target, _FRAMES)
    sampler = sampler_of(model)
    evaluators = serial_evaluators(target, "Reference")
    auxiliaries = config.sample.auxiliaries
    here, there = [
        _numbers(sampler, place(sampler.flow, where), evaluators, n, auxiliaries)
        for where in (torch.device("cpu"), device)
    ]
    values = {name: difference(there[name], here[name]) for name in here}
    float32 = _single_precision(sampler, place(model.state.teacher, device), n)
    text = ", ".join(f"{name} {value:.0e}" for name, value in values.items())
    verdict: Literal["ok", "wrong"] = "ok" if max(values.values()) <= TOLERANCE else "wrong"
    text = f"{text} apart (float32 {float32:.0e})"
    return Row(PART, kind.name, text, verdict, values | {"float32": float32})


def place(flow: Flow, device: torch.device) -> Flow:
    """Return a copy of a flow on a device."""
    return copy.deepcopy(flow).to(device)


def difference(found: np.ndarray, expected: np.ndarray) -> float:
    """Return the largest difference, relative for numbers above one; +inf if one is nan."""
    same = found == expected  # infinities too
    with np.errstate(invalid="ignore"):
        apart = np.abs(found - expected) / np.maximum(1.0, np.abs(expected))
    apart = np.where(same, 0.0, apart)
    return float(np.where(np.isfinite(apart), apart, np.inf).max())


def _gradient(parameter: Parameter) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad.flatten().cpu()


def _numbers(
    sampler: Sampler, flow: Flow, evaluators: Evaluators, n: int, auxiliaries: int
) -> dict[str, np.ndarray]:
    """Numbers that do not depend on the device of the flow."""
    chart, generator = sampler.chart, torch.Generator().manual_seed(0)
    samples = draw_samples(flow, chart, evaluators, n, _STEPS, generator, auxiliaries)
    held_out = sampler.held_out.at_most(n)
    log_w = log_weights_at(flow, chart, held_out.x, held_out.u, _STEPS, generator, auxiliaries)
    z = chart.sample_base(n, generator)
    flow.requires_grad_(True)
    s, _, score = flow.forward_with_score(z, _STEPS)
    back, log_det = flow.inverse(s, _STEPS)
    likelihood = losses.negative_log_likelihood(back, log_det, flow.n_linear)
    (likelihood.mean() + (score * s).mean()).backward()
    gradient = torch.cat([_gradient(parameter) for parameter in flow.parameters()])
    return {
        "samples": samples.x,
        "weights": samples.log_w,
        "weights of frames": log_w,
        "scores": _by_largest(score.detach()),
        "inverse": back.detach().numpy(),
        "gradients": _by_largest(gradient),
    }


def _by_largest(vector: torch.Tensor) -> np.ndarray:
    return (vector / vector.abs().max().clamp(min=1.0)).numpy()


def _single_precision(sampler: Sampler, trained: Flow, n: int) -> float:
    """Median error in nats of the log-determinants of the float32 flow."""
    z = sampler.chart.sample_base(n, torch.Generator().manual_seed(0))
    with torch.no_grad():
        _, exact = sampler.flow(z, _STEPS)
        _, rough = trained(z.float(), _STEPS)
    return float((rough.double() - exact).abs().median())
