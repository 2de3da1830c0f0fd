"""The object a scientist holds: a trained sampler that draws, weighs and judges its samples.

>>> import onestep_md
>>> with onestep_md.load("systems/models/alanine-cartesian") as sampler:
...     samples = sampler.sample(200, seed=1)
...     trajectory = sampler.trajectory(samples)
>>> samples.x.shape, trajectory.n_frames
((200, 22, 3), 200)
>>> float(samples.weights.sum().round(6))
1.0
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np
import torch

from onestep_md import pipeline
from onestep_md.analysis.records.folder import write_evidence
from onestep_md.analysis.records.refined import Refined
from onestep_md.config import Config, load_configs
from onestep_md.config.defaults import FEWEST_PARTICLES
from onestep_md.distributed.pool import Energies, Evaluators
from onestep_md.errors import ConfigError, RunFolderError
from onestep_md.estimators.evidence import Evidence
from onestep_md.kinds import load_target
from onestep_md.progress import Display
from onestep_md.results.evidence import evidence_table, measure
from onestep_md.results.refined import OneStep, Refining, refine_samples, weighted_regions
from onestep_md.run_folder import load_run_config
from onestep_md.sampling.bridge import Bridged, bridge
from onestep_md.sampling.chain import STARTS, Chain, make_chain
from onestep_md.sampling.draw import Samples, draw_samples, log_weights_at
from onestep_md.sampling.sampler import Sampler, load_sampler
from onestep_md.sampling.target import Target
from onestep_md.stages import open_pool
from onestep_md.training import hardware

if TYPE_CHECKING:
    from onestep_md.analysis.trajectories import Trajectory

# torch takes 32 bits of a seed: those of further samples are the upper half, of runs the lower one
_MORE = 2**31


class BoltzmannSampler:
    """A one-step sampler of exp(-u(x)), with the energies that its weights need.

    Lengths are in nm, energies in kT. Evaluators start with the first energy and end with `close`
    or with a `with` block.

    Attributes:
        config: of the run that made it.
        target: what is sampled.
    """

    def __init__(
        self, config: Config, target: Target, sampler: Sampler, local: bool, address: str | None
    ):
        """Take the parts; see `load`."""
        self.config, self.target = config, target
        self._sampler, self._local, self._address = sampler, local, address
        self._pool: Evaluators | None = None

    @property
    def parts(self) -> Sampler:
        """Chart, flow and held-out samples."""
        return self._sampler

    def sample(self, n: int, steps: int = 1, seed: int = 0) -> Samples:
        """Draw n samples with `steps` evaluations of the network each.

        Another seed gives other samples, the same one the same; none gives those of the run.

        Returns:
            x (n, atoms, 3) or (n, dim), u, log_q, log_w and `weights`, all (n,).
        """
        return draw_more(self.config, self._sampler, self._evaluators, n, steps, seed)

    def trajectory(self, samples: Samples | Bridged | Chain) -> "Trajectory":
        """Make an mdtraj trajectory of samples of a molecule, in the atom order of its PDB.

        Raises:
            TargetError: the target is no molecule.
        """
        return self.target.trajectory(samples.x)

    def log_prob(self, x: np.ndarray, steps: int = 1) -> np.ndarray:
        """Log-density (n,) of the samples at configurations x, through the exact inverse.

        A molecule may have any place and orientation: rigid motion is integrated out. Where the
        chart has auxiliary coordinates, fresh draws of them give an estimate, which scatters.
        """
        return -self._log_w(x, np.zeros(len(x)), steps)

    def log_weights(self, x: np.ndarray, steps: int = 1) -> np.ndarray:
        """Log importance weights -u(x) - log q(x), (n,), at configurations x."""
        u, _ = self._evaluators.evaluate(x)
        return self._log_w(x, u, steps)

    def evidence(self, n: int, steps: int = 1, seed: int = 0) -> Evidence:
        """Draw n samples and estimate log Z and how far to trust it: ESS, BAR, bounds, k-hat."""
        return self._measure(n, steps, seed)[1]

    def write(self, folder: Path | str, n: int, steps: int = 1, seed: int = 0) -> list[str]:
        """Draw n samples into a new folder, as the trajectory, weights and evidence of a run.

        Returns:
            Lines of the evidence, for printing.

        Raises:
            RunFolderError: the folder holds something.
        """
        folder = Path(folder)
        if folder.exists() and any(folder.iterdir()):
            raise RunFolderError(f"{folder} is not empty; choose another folder with --out")
        samples, evidence = self._measure(n, steps, seed)
        self.target.write_samples(folder, samples, seed)
        write_evidence(folder / "evidence.json", evidence)
        done = f"{n} samples in {samples.seconds:.1f} s: {folder}"
        return [*evidence_table([evidence]), *evidence.warnings(), done]

    def refine(self, particles: int = 2000, moves: int = 4, seed: int = 0) -> Bridged:
        """Anneal from the flow to its own target: configurations of equal weight.

        They need no weights, and are nearly independent but for those of one founder. A stochastic
        normalizing flow (Wu, Koehler and Noe, arXiv 2002.06707).

        Args:
            particles: how many, at least 512.
            moves: of MALA at every temperature, each one energy with gradient per particle.
            seed: another one gives others.

        Returns:
            x, u and log_q; island and founder, which relatives share; log Z with the error from
            the spread over islands; the cost.
        """
        if particles < FEWEST_PARTICLES or moves < 1:
            raise ConfigError(
                f"refining needs {FEWEST_PARTICLES} particles and a move, or more, not "
                f"{particles} and {moves}."
            )
        return bridge(
            self._sampler,
            self._evaluators,
            particles,
            moves,
            _MORE + seed,
            lambda done, text: None,
        )

    def chain(self, n: int, seed: int = 0) -> Chain:
        """Walk n steps of Metropolis-Hastings whose proposals are one-step samples.

        A proposal is accepted with probability min(1, w' / w) of its weight and that of the
        present state (independence sampler; as a part of Wu, Koehler and Noe, arXiv 2002.06707).

        Returns:
            x, u and log_w in order, the acceptance, and the statistical inefficiency of u.

        Raises:
            OneStepError: none of the first samples has any weight.
        """
        samples = self.sample(n + STARTS, seed=seed)
        return make_chain(samples, np.random.default_rng(_MORE + seed))

    def write_refined(
        self,
        folder: Path | str,
        particles: int = 2000,
        moves: int = 4,
        n: int = 10_000,
        seed: int = 0,
        resume: bool = False,
    ) -> Refined:
        """Draw n one-step samples and refine; print both and write the refined ones as a run.

        Args:
            folder: new or empty, unless an interrupted refining is resumed.
            particles, moves, seed: as of `refine`.
            n: one-step samples to set beside.
            resume: continue what was interrupted with the same arguments.

        Raises:
            RunFolderError: the folder holds something, or nothing to resume.
        """
        folder, config, sampler = Path(folder), self.config, self._sampler
        refining = Refining(particles, moves, _MORE + seed)
        waiting = refining.pass_file(folder, sampler, self.target).exists()
        if resume and not waiting:
            raise RunFolderError(
                f"{folder} holds no refining of these settings to resume; leave out --resume"
            )
        if not resume and folder.exists() and any(folder.iterdir()):
            advice = "continue it with --resume, or " if waiting else ""
            raise RunFolderError(
                f"{folder} is not empty; {advice}choose another folder with --out"
            )
        display = Display()
        samples, evidence = self._measure(n, 1, seed)
        for line in (*evidence_table([evidence]), *evidence.warnings()):
            display.say(line)
        one_step = OneStep(evidence, weighted_regions(config, self.target, samples, config.seed))
        return refine_samples(
            config, self.target, sampler, self._evaluators, one_step, refining, folder, display
        )

    def close(self) -> None:
        """End the evaluators."""
        if self._pool is not None:
            self._pool.close()
            self._pool = None

    def __enter__(self) -> "BoltzmannSampler":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"BoltzmannSampler({self.target.fingerprint.identity}; {self._sampler.chart})"

    @property
    def _evaluators(self) -> Evaluators:
        if self._pool is None:
            self._pool = open_pool(self.config, [self.target], self._local, self._address)
        return self._pool

    def _log_w(self, x: np.ndarray, u: np.ndarray, steps: int) -> np.ndarray:
        sampler, generator = self._sampler, torch.Generator().manual_seed(_MORE)
        draws = self.config.sample.auxiliaries
        return log_weights_at(sampler.flow, sampler.chart, x, u, steps, generator, draws)

    def _measure(self, n: int, steps: int, seed: int) -> tuple[Samples, Evidence]:
        auxiliaries = self.config.sample.auxiliaries
        return measure(self._sampler, self._evaluators, n, steps, _MORE + seed, auxiliaries)


def draw_more(
    config: Config, sampler: Sampler, energies: Energies, n: int, steps: int, seed: int
) -> Samples:
    """Draw samples as `BoltzmannSampler.sample` does, with any evaluators of the target."""
    generator, draws = torch.Generator().manual_seed(_MORE + seed), config.sample.auxiliaries
    return draw_samples(sampler.flow, sampler.chart, energies, n, steps, generator, draws)


def load(
    folder: Path | str, local: bool = True, address: str | None = None, trust: bool = False
) -> BoltzmannSampler:
    """Read the sampler that a run has left in its folder.

    Args:
        folder: of a finished run, or of a model that was shipped.
        local: compute energies in this process, without Ray.
        address: of a Ray cluster, where not `local`.
        trust: whether code that the folder holds may run.

    Raises:
        RunFolderError: it holds no finished run, or one of another target.
        TargetError: its target cannot be made here.

    Example:
        >>> import onestep_md
        >>> sampler = onestep_md.load("systems/models/lj13_f1")
        >>> sampler.sample(100).x.shape
        (100, 36)
    """
    folder = Path(folder)
    config = load_run_config(folder, trust)
    target = load_target(config)
    sampler = load_sampler(config, target, folder)
    hardware.prepare(config.cluster, local)
    sampler.flow.to(hardware.device(config.cluster))
    return BoltzmannSampler(config, target, sampler, local, address)


def train(
    config: Path | str | Mapping[str, object],
    out: Path | str,
    overrides: Sequence[str] = (),
    resume: bool = False,
    local: bool = True,
    address: str | None = None,
    minutes: float | None = None,
) -> BoltzmannSampler:
    """Train a sampler from beginning to end, as `python -m onestep_md.run` does, and return it.

    Args:
        config: a YAML file, or the same sections and keys as a dict, whose relative paths start
            where the program runs.
        out: run folder.
        overrides: keys to replace, such as "train.steps=200".
        resume: continue what is in the run folder.
        local: compute energies in this process, without Ray.
        address: of a Ray cluster, where not `local`.
        minutes: of the whole run; exploration.duration and train.steps are chosen by them.

    Raises:
        ConfigError: all mistakes of the configuration at once.
        RunFolderError: the folder holds a run already, or it is a run on several molecules, whose
            samplers are loaded one by one.
    """
    configs = load_configs(config, overrides)
    out = Path(out)
    pipeline.run(configs, out, resume, local, address, minutes)
    if len(configs) > 1:
        raise RunFolderError(f"{out} holds several samplers; load one: {', '.join(configs)}")
    return load(out, local, address, trust=True)  # it has run what lies there
