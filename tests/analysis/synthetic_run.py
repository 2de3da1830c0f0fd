"""A made-up run folder with known answers, written without a flow or a force field."""

import json
from pathlib import Path

import numpy as np

UNKNOWN = {"value": "NaN", "error": "NaN"}
KT = 2.494338785445972  # kJ/mol at 300 K
TEMPERATURE = 300.0

# one geometry of Ace-Ala-Nme; the torsion arrays below are drawn independently of it
ALANINE = """\
HETATM    1  CH3 ACE A   1      -2.830   0.995   0.964  1.00  0.00           C
HETATM    2  H1  ACE A   1      -3.281   0.295   1.667  1.00  0.00           H
HETATM    3  H2  ACE A   1      -3.137   0.741  -0.049  1.00  0.00           H
HETATM    4  H3  ACE A   1      -3.153   2.007   1.200  1.00  0.00           H
HETATM    5  C   ACE A   1      -1.324   0.905   1.068  1.00  0.00           C
HETATM    6  O   ACE A   1      -0.666   1.898   1.379  1.00  0.00           O
ATOM      7  N   ALA A   2      -0.779  -0.283   0.800  1.00  0.00           N
ATOM      8  H   ALA A   2      -1.400  -1.048   0.566  1.00  0.00           H
ATOM      9  CA  ALA A   2       0.660  -0.566   0.894  1.00  0.00           C
ATOM     10  HA  ALA A   2       1.045  -0.085   1.795  1.00  0.00           H
ATOM     11  C   ALA A   2       1.497  -0.030  -0.295  1.00  0.00           C
ATOM     12  O   ALA A   2       2.727   0.038  -0.200  1.00  0.00           O
ATOM     13  CB  ALA A   2       0.833  -2.081   1.066  1.00  0.00           C
ATOM     14  HB1 ALA A   2       0.275  -2.421   1.939  1.00  0.00           H
ATOM     15  HB2 ALA A   2       0.472  -2.603   0.179  1.00  0.00           H
ATOM     16  HB3 ALA A   2       1.888  -2.316   1.212  1.00  0.00           H
HETATM   17  N   NME A   3       0.851   0.352  -1.408  1.00  0.00           N
HETATM   18  H   NME A   3      -0.157   0.267  -1.413  1.00  0.00           H
HETATM   19  C   NME A   3       1.495   0.882  -2.610  1.00  0.00           C
HETATM   20  H1  NME A   3       2.193   0.147  -3.015  1.00  0.00           H
HETATM   21  H2  NME A   3       0.745   1.113  -3.369  1.00  0.00           H
HETATM   22  H3  NME A   3       2.045   1.794  -2.368  1.00  0.00           H
END
"""

REGIONS = {
    "C5/PII": {"phi": (180, -40), "psi": (110, -140)},
    "C7eq": {"phi": (-120, -40), "psi": (20, 110)},
    "alpha-R": {"phi": (-160, -40), "psi": (-100, 20)},
    "alpha-L": {"phi": (30, 90), "psi": (0, 90)},
    "C7ax": {"phi": (30, 100), "psi": (-120, 0)},
}
_CENTRES = np.radians([[-150, 155], [-72, 150], [-82, 70], [-75, -25], [57, 40], [68, -55]])
_SHARES = np.array([0.34, 0.30, 0.12, 0.19, 0.035, 0.015])
_WIDTHS = np.array([9.0, 14.0, 14.0, 11.0, 22.0, 20.0])  # von Mises concentrations


def draw_torsions(n: int, pairs: int, generator: np.random.Generator, spread: float = 1.0):
    """(n, 2 * pairs) radians from a mixture with the shares of the six basins."""
    shares = _SHARES**spread / (_SHARES**spread).sum()
    columns = []
    for _ in range(pairs):
        basin = generator.choice(len(shares), n, p=shares)
        kappa = _WIDTHS[basin] * spread
        columns += [generator.vonmises(_CENTRES[basin, i], kappa) for i in (0, 1)]
    return np.stack(columns, axis=1)


def write_run_folder(
    folder: Path,
    n: int = 10_000,
    pairs: int = 1,
    torsions: tuple[str, ...] | None = None,
    trouble: bool = False,
    method: str = "dynamics",
) -> Path:
    """Write every file that the report reads.

    Args:
        folder: created if missing.
        n: number of samples of every K.
        pairs: residues with phi and psi (or pairs of other torsions).
        torsions: names; phi/psi, or phi_2, psi_2, ... by default.
        trouble: heavy weight tails, folds, a region that disagrees with the exploration.
        method: method of the exploration.
    """
    generator = np.random.default_rng(7)
    if torsions is None:
        numbered = [(f"phi_{i + 2}", f"psi_{i + 2}") for i in range(pairs)]
        torsions = ("phi", "psi") if pairs == 1 else tuple(name for p in numbered for name in p)
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {
        "explored_torsions": draw_torsions(5000, pairs, generator)[:, : len(torsions)],
        "explored_u": -30.0 + generator.gamma(33.0, 1.0, 5000),
    }
    evidence = []
    for k, width in zip((0, 1, 2, 4, 8), (1.1, 0.68, 0.66, 0.55, 0.52), strict=True):
        log_w = _log_weights(n, width, generator, tail=0.9 if trouble and k < 2 else 0.0)
        arrays[f"k{k}_log_w"] = log_w
        arrays[f"k{k}_u"] = -30.0 + generator.gamma(33.0, 1.0, n) - 0.3 * (log_w + 32.0)
        arrays[f"k{k}_u"][~np.isfinite(log_w)] = np.inf
        arrays[f"k{k}_torsions"] = draw_torsions(n, pairs, generator, 0.85)[:, : len(torsions)]
        evidence.append(_evidence(k, log_w, trouble))
    np.savez(folder / "steps.npz", **arrays)
    _write_trajectory(folder, arrays, generator)
    _write_json(folder, torsions, evidence, trouble, method)
    _write_metrics(folder / "metrics.jsonl", generator)
    return folder


def _log_weights(n, width, generator, tail):
    log_w = -32.0 + width * generator.normal(size=n) - 0.3 * generator.exponential(size=n)
    log_w += tail * generator.exponential(size=n)
    log_w -= np.log(np.mean(np.exp(log_w + 32.0)))  # log Z = -32 at every K
    if width > 1:
        log_w[:3] = -np.inf  # overlapping atoms in the base
    return log_w


def _evidence(k, log_w, trouble):
    w = np.exp(log_w - log_w.max())
    ess = w.mean() ** 2 / (w**2).mean()
    log_z = log_w.max() + np.log(w.mean())
    error = np.sqrt((1 / ess - 1) / len(w))
    bad = trouble and k == 1
    return {
        "steps": k,
        "n": len(w),
        "ess": ess,
        "ess_error": 0.008 * ess + 0.002,
        "ess_clipped": 1.02 * ess,
        "ess_sets": [],
        "khat": 0.91 if bad else 0.41 - 0.03 * k,
        "heaviest": 0.001,
        "harmless": False,
        "forward_ess": UNKNOWN,
        "held_out": 1000,
        "unusable": 0,
        "above": 0,
        "above_limit": 3.0,
        "log_z": {"value": log_z, "error": error},
        "elbo": {"value": "-Infinity", "error": "NaN", "reason": "3 samples are infinite"}
        if np.isinf(log_w).any()
        else {"value": log_w.mean(), "error": 0.01},
        "eubo": {"value": log_z + 0.7 / (k + 1), "error": 0.02},
        "bar": {"value": log_z + (0.5 if bad else 0.006), "error": 0.008},
        "negative_determinants": 14 if bad else 0,
        "checked": 10_000 if k else 0,
        "log_det_error": None,
        "round_trip": 3e-13 if k else None,
        "infinite": int(np.isinf(log_w).sum()),
        "seconds_per_1000": 0.31 + 0.4 * k,
        "auxiliaries": 1,
        "ess_joint": UNKNOWN,
    }


def _write_trajectory(folder, arrays, generator):
    from onestep_md.analysis.trajectories import write_trajectory

    rows = [line for line in ALANINE.splitlines() if line[:6] in ("ATOM  ", "HETATM")]
    x = np.array([[float(line[a : a + 8]) for a in (30, 38, 46)] for line in rows]) / 10
    n = len(arrays["k1_u"])
    frames = x + 0.004 * generator.normal(size=(n, *x.shape))
    log_w, u = arrays["k1_log_w"], arrays["k1_u"]
    log_q = np.where(np.isfinite(log_w), -np.where(np.isfinite(u), u, 0.0) - log_w, 0.0)
    write_trajectory(folder, ALANINE, frames, log_w, u, log_q, generator)


def _write_json(folder, torsions, evidence, trouble, method):
    fingerprint = {
        "pdb": "alanine.pdb",
        "forcefield": ["amber99sbildn.xml", "amber99_obc.xml"],
        "solvent": "GBSAOBCForce",
        "cutoff": "NoCutoff",
        "constraints": "none",
        "atoms": 22,
        "temperature": TEMPERATURE,
        "system_sha256": "3f1b6a0c9d27e4518a6f0b3c5d7e9f10a2b4c6d8e0f1a3b5c7d9e1f203142536",
        "u_input": -21.8397,
    }
    text = "K = 1: k-hat = 0.91 is above 0.70: weights unreliable: train longer"
    results = {
        "format": 2,
        "kind": "molecule",
        "fingerprint": fingerprint,
        "evidence": evidence,
        "cost": {
            "exploration": {"evaluations": 3_132_000, "seconds": 151.0},
            "training": {"evaluations": 9_216_000, "seconds": 842.0},
            "sampling": {"evaluations": 50_000, "seconds": 38.0},
        },
        "evidence_warnings": [text] if trouble else [],
        "run_warnings": [],
        "temperature": TEMPERATURE,
        "kT": KT,
        "torsions": list(torsions),
        "explored_by": method,
        "isomers": {
            "held": ["1 stereocentre", "2 trans amides"],
            "sampled": ["5 torsions"],
            "outside": {str(row["steps"]): {"an inverted stereocentre": 0} for row in evidence},
        },
        "distances": {},
        "regions": _regions(torsions, trouble),
        "acceptance": [0.51, 0.58, 0.6, 0.62, 0.61, 0.6, 0.59]
        if method == "annealing"
        else [0.41, 0.43, 0.44, 0.46, 0.47],
    }
    environment = {
        "argv": ["run.py", "systems/alanine.yaml"],
        "seed": 1,
        "host": "workstation",
        "machine": "Linux x86_64, some processor",
        "cpus": 2,
        "git": "0123456789abcdef0123456789abcdef01234567",
        "versions": {"python": "3.11.7", "torch": "2.13.0", "openmm": "8.6.1", "ray": "2.60.0"},
        "resources": {"platform": "Reference", "evaluators": 2, "learner_threads": 1},
        "fingerprint": fingerprint,
    }
    config = "target:\n  kind: molecule\n  pdb: alanine.pdb\n  temperature: 300.0\n"
    config += "train:\n  method: buffer\nseed: 1\n"
    (folder / "results.json").write_text(json.dumps(results))
    (folder / "environment.json").write_text(json.dumps(environment))
    (folder / "config.yaml").write_text(config)


def _regions(torsions, trouble):
    delta_f = {"C5/PII": 0.0, "C7eq": 1.62, "alpha-R": 1.23, "alpha-L": 2.87, "C7ax": 3.75}
    regions = []
    named = REGIONS if torsions[:2] == ("phi", "psi") else {
        name: dict(zip(torsions, ranges.values(), strict=False))
        for name, ranges in REGIONS.items()
    }  # fmt: skip
    for (name, value), ranges in zip(delta_f.items(), named.values(), strict=True):
        error = 0.03 * np.exp(0.4 * value)
        shift = 0.9 if trouble and name == "C7ax" else 0.4 * error
        probability = 0.66 * np.exp(-value)
        one_step = {
            "name": name,
            "reference": "C5/PII",
            "delta_f": {"value": value, "error": error if value else 0.0},
            "probability": {"value": probability, "error": 0.02 * probability**0.5},
            "n_samples_inside": 1000,
            "effective": 400.0,
            "khat": 0.3,
            "harmless": False,
        }
        explored = one_step | {
            "delta_f": {
                "value": value + shift if value else 0.0,
                "error": 1.6 * error if value else 0.0,
            },
            "probability": {
                "value": probability * np.exp(-shift),
                "error": 0.03 * probability**0.5,
            },
        }
        limits = {torsion: list(pair) for torsion, pair in ranges.items()}
        regions.append({"ranges": limits, "flow": {"1": one_step}, "explored": explored})
    if trouble:
        regions[3]["flow"]["1"]["delta_f"]["error"] = "NaN"
        regions[3]["explored"]["delta_f"] = UNKNOWN
    return regions


def _write_metrics(path, generator):
    rows = []
    for step in range(10, 3001, 10):
        decay, noise = np.exp(-step / 700), 1 + 0.08 * generator.normal()
        rows.append(
            {
                "step": step,
                "seconds": 0.28 * step,
                "loss_energy": (0.25 + 1.2 * decay) * noise,
                "loss_flow": (0.4 + 0.5 * decay) * noise,
                "loss_state": (0.003 + 0.05 * decay) * noise,
                "loss_volume": (0.02 + 0.4 * decay) * noise,
                "ess": (0.62 - 0.34 * decay) * noise if step > 50 else None,
                "evaluations": 3000 * step,
                "evaluations_per_s": 10_800 * noise,
                "learner_idle": 0.02 + 0.01 * generator.random(),
                "learning_rate": 1e-3,
            }
        )
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def edit_results(folder: Path, change) -> None:
    """Apply `change(results)` to the results.json of a run folder."""
    results = json.loads((folder / "results.json").read_text())
    change(results)
    (folder / "results.json").write_text(json.dumps(results))
