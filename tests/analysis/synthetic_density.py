"""A made-up run on a density, in closed form: Gaussian mixtures, no network, real estimators.

Target: the first one or two coordinates are a mixture on {-5, 0, 5}, the others N(0, 1), times
exp(2.5). The K-step "flow" has the same modes, wider; K = 0 is one broad Gaussian.
"""

import json
import math
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np

from onestep_md.analysis.records.density import DensityResults
from onestep_md.analysis.records.folder import write_results
from onestep_md.analysis.records.results import Cost
from onestep_md.estimators.evidence import evaluate_evidence

LOG_Z = 2.5
_STD = 0.55


class Mixture:
    """Equal Gaussians at `centres` (m, 1 or 2), N(0, spread^2) in the other coordinates."""

    def __init__(self, dim: int, centres: np.ndarray, std: float, spread: float):
        self.dim, self.centres, self.std, self.spread = dim, centres, std, spread

    def sample(self, n: int, generator: np.random.Generator) -> np.ndarray:
        x = generator.normal(size=(n, self.dim)) * self.spread
        k = self.centres.shape[1]
        which = generator.integers(len(self.centres), size=n)
        x[:, :k] = self.centres[which] + self.std * generator.normal(size=(n, k))
        return x

    def log_density(self, x: np.ndarray) -> np.ndarray:
        k, m = self.centres.shape[1], len(self.centres)
        z = (x[:, None, :k] - self.centres) / self.std
        each = -0.5 * (z**2).sum(-1) - k * math.log(self.std * math.sqrt(2 * math.pi))
        rest = -0.5 * (x[:, k:] / self.spread) ** 2 - math.log(self.spread * math.sqrt(2 * np.pi))
        return np.logaddexp.reduce(each, axis=1) - math.log(m) + rest.sum(-1)


def write_density_folder(
    folder: Path,
    n: int = 10_000,
    dim: int = 2,
    steps: tuple[int, ...] = (0, 1, 2, 4, 8),
    trouble: bool = False,
    known: bool = True,
) -> Path:
    """Write every file that the report reads.

    Args:
        folder: created if missing.
        n: number of samples of every K, and of the target.
        dim: number of coordinates.
        steps: values of K.
        trouble: modes missed, a wrong determinant at K = 1, hence ELBO above log Z, k-hat 0.9.
        known: log Z, modes and exact samples are known.
    """
    generator = np.random.default_rng(11)
    centres = np.array(list(product((-5.0, 0.0, 5.0), repeat=min(dim, 2))))
    target = Mixture(dim, centres, _STD, 1.0)
    target_x = target.sample(n, generator)
    arrays, evidence, modes = {"target_x": target_x}, [], {}
    for k in steps:
        width = 1.0 + 0.16 / max(k, 1)
        visited = centres[: len(centres) - 4] if trouble and k else centres
        flow = Mixture(dim, visited, _STD * width, 1.0 + 0.1 / (max(k, 1) * dim))
        if k == 0:
            flow = Mixture(dim, np.zeros((1, centres.shape[1])), 4.3, 1.2)
        x = flow.sample(n, generator)
        shift = LOG_Z + (1.5 if trouble and k == 1 else 0.0)
        log_w, log_w_target = (target.log_density(y) - flow.log_density(y) + shift
                               for y in (x, target_x))  # fmt: skip
        arrays[f"k{k}_x"], arrays[f"k{k}_log_w"] = x, log_w
        row = evaluate_evidence(
            k, log_w, np.minimum(log_w_target, 80.0), target_inefficiency=1.0,
            negative_determinants=14 if trouble and k == 1 else 0, checked=1000,
            log_det_error=3e-12, round_trip=2e-11, seconds=n / 1000 * (0.02 + 0.03 * k),
        )  # fmt: skip
        evidence.append(replace(row, khat=0.9, harmless=False) if trouble and k == 1 else row)
        nearest = ((x[:, None, : centres.shape[1]] - centres) ** 2).sum(-1).argmin(1)
        fraction = np.bincount(nearest, minlength=len(centres)) / n
        modes[k] = int((fraction >= 0.1 / len(centres)).sum())
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / "steps.npz", **arrays)
    _write_json(folder, dim, evidence, modes, len(centres), known)
    _write_metrics(folder / "metrics.jsonl", generator)
    return folder


def _write_json(folder, dim, evidence, modes, n_modes, known):
    fingerprint = {
        "name": "nine modes",
        "dim": dim,
        "log_z": LOG_Z if known else None,
        "digest": "5b1f0c3a9d27e4518a6f0b3c5d7e9f10a2b4c6d8e0f1a3b5c7d9e1f203142536",
    }
    costs = {
        "exploration": (512_000, 4.0),
        "training": (2_304_000, 212.0),
        "sampling": (50_000, 9.0),
    }
    results = DensityResults(
        fingerprint=fingerprint,
        evidence=tuple(evidence),
        cost={name: Cost(evaluations=n, seconds=s) for name, (n, s) in costs.items()},
        evidence_warnings=tuple(text for row in evidence for text in row.warnings()),
        run_warnings=(),
        exact_samples=known,
        modes=n_modes if known else None,
        modes_found={k: count if known else None for k, count in modes.items()},
        particles={},
    )
    environment = {
        "argv": ["run.py", "systems/gmm9.yaml"],
        "seed": 1,
        "host": "workstation",
        "machine": "Linux x86_64, some processor",
        "cpus": 2,
        "versions": {"python": "3.11.7", "torch": "2.13.0"},
        "fingerprint": fingerprint,
    }
    write_results(folder, results)
    (folder / "environment.json").write_text(json.dumps(environment))
    (folder / "config.yaml").write_text("target:\n  kind: density\n  name: gmm9\nseed: 1\n")


def _write_metrics(path, generator):
    rows = []
    for step in range(10, 1501, 10):
        decay, noise = np.exp(-step / 300), 1 + 0.06 * generator.normal()
        rows.append(
            {
                "step": step,
                "loss_energy": (0.03 + 1.2 * decay) * noise,
                "loss_flow": (0.3 + 0.6 * decay) * noise,
                "loss_state": (0.002 + 0.03 * decay) * noise,
                "loss_volume": (0.01 + 0.3 * decay) * noise,
                "ess": (0.93 - 0.6 * decay) * noise if step > 30 else None,
                "evaluations_per_s": 11_000 * noise,
                "learner_idle": 0.03 + 0.01 * generator.random(),
            }
        )
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
