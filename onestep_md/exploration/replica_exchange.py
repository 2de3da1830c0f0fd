"""Replica-exchange molecular dynamics, the source of training data.

Replicas at temperatures T_0 < T_1 < ... run Langevin segments in rounds; after each round every
second pair of neighbours may swap, with probability min(1, exp((b_i - b_j) (u_i - u_j))), where
u = U / kT_0 and b_i = T_0 / T_i (Sugita and Okamoto, Chem. Phys. Lett. 314, 141 (1999)). Frames
of T_0 are kept with energy and gradient, of the other temperatures the energies alone. All
randomness comes from the seed and the place in the protocol, so the result does not depend on the
evaluators that run the segments.

Torsions whose barriers are too high even for the hottest replica also turn by Monte Carlo after
every fourth round. A segment that ends outside of the domain, as another isomer, is undone.
"""

import dataclasses
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from onestep_md.config import Dynamics
from onestep_md.errors import TargetError
from onestep_md.exploration.explored import Exploration
from onestep_md.exploration.torsion_jumps import TorsionJumps
from onestep_md.targets.evaluator import Segment, SegmentResult
from onestep_md.targets.molecule import KB, Molecule

MAX_FAILURES = 6  # failed segments in a row, each at half the time step of the one before
REPORT_SECONDS = 0.5
TURN_ROUNDS = 4  # between Monte Carlo turns; a handful of energies takes as long as a segment
EXCHANGE, DYNAMICS, TURN = 0, 1, 2  # first spawn key of the random streams


Inside = Callable[[np.ndarray], np.ndarray]
Enough = Callable[[int, int], bool]


class SegmentRunner(Protocol):
    """The part of `distributed.pool.Evaluators` that replica exchange needs."""

    def evaluate(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Compute energies and gradients of x (batch, atoms, 3)."""

    def map_segments(self, segments: Sequence[Segment]) -> list[SegmentResult]:
        """Run independent pieces of dynamics, with results in input order."""


def explore(
    molecule: Molecule,
    evaluators: SegmentRunner,
    settings: Dynamics,
    seed: int,
    inside: Inside = lambda x: np.ones(len(x), dtype=bool),
    turning: Collection[tuple[int, int]] = (),
    progress: Callable[[float, str], None] | None = None,
    enough: Enough = lambda frames, evaluations: False,
) -> Exploration:
    """Run the whole protocol.

    Args:
        molecule: the start of all replicas.
        evaluators: run the segments.
        settings: temperatures in K, times in ps (duration includes equilibration), timestep in fs.
        seed: determines everything.
        inside: finds which of (batch, atoms, 3) belong to the domain.
        turning: bonds that may turn to another well.
        progress: called with the fraction done and a message, about twice a second.
        enough: asked after every round that frames are kept of, with the number of frames and of
            force evaluations so far; where it says so, the protocol ends before its time.

    Raises:
        TargetError: a replica fails again and again.
    """
    plan = Plan(settings, seed)
    ladder = [_Replica(np.array(molecule.positions), i) for i in range(len(plan.temperatures))]
    record = _Record(plan)
    torsions = [torsion for torsion in molecule.torsions if torsion.bond in turning]
    jumps = TorsionJumps(torsions, KB * plan.temperatures[-1])
    reported = time.monotonic()
    for k in range(plan.rounds):
        segments = [plan.segment(k, i, replica) for i, replica in enumerate(ladder)]
        results = evaluators.map_segments(segments)
        good = inside(np.array([result.positions for result in results]))
        for i, (replica, result) in enumerate(zip(ladder, results, strict=True)):
            record.count(result, good[i])
            if good[i]:
                replica.take(result, plan.temperatures[i])
            else:
                replica.velocities = None  # begins again with others
        if k >= plan.discarded:
            record.keep(ladder[0].walker, results[0], inside(results[0].frames))
            record.keep_energies(results, good)
        if jumps.bonds and k % TURN_ROUNDS == 0:
            _jump(ladder, jumps, evaluators, inside, plan, k, record)
        ladder = _exchange(ladder, plan, k, record)
        if progress and (time.monotonic() - reported > REPORT_SECONDS or k + 1 == plan.rounds):
            reported = time.monotonic()
            progress((k + 1) / plan.rounds, record.message(k + 1))
        if k >= plan.discarded and enough(len(record.walkers), record.evaluations):
            break
    return record.exploration()


@dataclass
class _Replica:
    """The last good state at one temperature."""

    positions: np.ndarray
    walker: int
    velocities: np.ndarray | None = None
    u: float = np.inf
    failures: int = 0  # in a row

    def take(self, result: SegmentResult, temperature: float) -> None:
        if result.ok:
            self.positions, self.velocities = result.positions, result.velocities
            self.u, self.failures = result.u_end, 0
            return
        self.velocities = None  # the old ones led to the failure: draw new ones
        self.failures += 1
        if self.failures > MAX_FAILURES:
            raise TargetError(
                f"exploration: the replica at {temperature:g} K failed {self.failures} times in "
                "a row, at ever smaller time steps. Look for clashes in the input geometry, "
                "minimise it, or lower exploration.timestep or the highest temperature."
            )


class Plan:
    """The protocol in steps and rounds, and the random streams of each of its places."""

    def __init__(self, settings: Dynamics, seed: int):
        self.temperatures = np.array(settings.temperatures, dtype=np.float64)
        self.timestep, self.friction, self.seed = settings.timestep, settings.friction, seed
        interval = settings.exchange_interval
        self.frames_per_round = max(1, round(interval / settings.frame_interval))
        per_frame = 1000.0 * interval / self.timestep / self.frames_per_round
        self.frame_every = max(1, round(per_frame))
        self.steps = self.frame_every * self.frames_per_round
        self.picoseconds = self.steps * self.timestep / 1000.0  # of a round
        self.rounds = max(2, round(settings.duration / self.picoseconds))
        self.discarded = min(round(settings.equilibration / self.picoseconds), self.rounds - 1)

    def segment(self, k: int, i: int, replica: _Replica) -> Segment:
        """Make the segment of round k at temperature i, with a smaller step after failures."""
        stream = np.random.SeedSequence(self.seed, spawn_key=(DYNAMICS, k, i))
        return Segment(
            positions=replica.positions,
            velocities=replica.velocities,
            temperature=float(self.temperatures[i]),
            steps=self.steps,
            timestep=self.timestep * 0.5**replica.failures,
            friction=self.friction,
            frame_every=self.frame_every,
            seed=int(stream.generate_state(1)[0] >> 1),
        )

    def uniforms(self, k: int) -> np.ndarray:
        """Draw one number in [0, 1) per pair of neighbours, for the exchanges after round k."""
        stream = np.random.SeedSequence(self.seed, spawn_key=(EXCHANGE, k))
        return np.random.default_rng(stream).random(len(self.temperatures) - 1)


@dataclass
class _Record:
    """The frames and counts of all rounds."""

    plan: Plan
    results: list[SegmentResult] = field(default_factory=list)
    walkers: list[int] = field(default_factory=list)
    energies: list[np.ndarray] = field(default_factory=list)
    attempts: np.ndarray = field(init=False)
    accepted: np.ndarray = field(init=False)
    evaluations: int = 0
    restarts: int = 0

    def __post_init__(self):
        self.attempts, self.accepted = np.zeros((2, len(self.plan.temperatures) - 1))

    def count(self, result: SegmentResult, inside: bool) -> None:
        self.evaluations += result.force_evaluations
        self.restarts += not (result.ok and inside)

    def keep(self, walker: int, lowest: SegmentResult, inside: np.ndarray) -> None:
        frames, u, grad_u = (a[inside] for a in (lowest.frames, lowest.u, lowest.grad_u))
        self.results.append(dataclasses.replace(lowest, frames=frames, u=u, grad_u=grad_u))
        self.walkers += [walker] * len(frames)

    def keep_energies(self, results: Sequence[SegmentResult], good: np.ndarray) -> None:
        u = np.full((self.plan.frames_per_round, len(results)), np.nan)
        for i, result in enumerate(results):
            if good[i] and result.ok:
                u[:, i] = result.u
        self.energies.append(u)

    def rates(self) -> np.ndarray:
        return self.accepted / np.maximum(self.attempts, 1)

    def message(self, k: int) -> str:
        plan, rates = self.plan, self.rates()
        done, total = k * plan.picoseconds, plan.rounds * plan.picoseconds
        restarts = f", {self.restarts} restarts" if self.restarts else ""
        return (
            f"{done:.0f}/{total:.0f} ps x {len(plan.temperatures)} replicas, "
            f"exchanges {100 * rates.min():.0f}-{100 * rates.max():.0f} %{restarts}"
        )

    def exploration(self) -> Exploration:
        frames = np.concatenate([result.frames for result in self.results])
        if not len(frames):
            raise TargetError(
                "exploration: every segment at the lowest temperature failed. Minimise the input "
                "geometry or lower exploration.timestep."
            )
        return Exploration(
            frames=frames,
            u=np.concatenate([result.u for result in self.results]),
            grad_u=np.concatenate([result.grad_u for result in self.results]),
            replica=np.array(self.walkers),
            temperatures=self.plan.temperatures,
            exchange_acceptance=self.rates(),
            evaluations=self.evaluations,
            restarts=self.restarts,
            ladder_u=np.concatenate(self.energies),
        )


def _jump(
    ladder: list[_Replica],
    jumps: TorsionJumps,
    evaluators: SegmentRunner,
    inside: Inside,
    plan: Plan,
    k: int,
    record: _Record,
) -> None:
    """Try one turn of every replica that has an energy, by the Metropolis rule."""
    stream = np.random.SeedSequence(plan.seed, spawn_key=(TURN, k))
    generator = np.random.default_rng(stream)
    x = jumps.propose(np.array([replica.positions for replica in ladder]), generator)
    u, _ = evaluators.evaluate(x)
    record.evaluations += len(x)
    before = np.array([replica.u for replica in ladder])
    b = plan.temperatures[0] / plan.temperatures
    with np.errstate(invalid="ignore"):
        accepted = np.isfinite(before) & inside(x)
        accepted &= -b * (u - before) > -generator.standard_exponential(len(x))
    for i in np.flatnonzero(accepted):
        ladder[i].positions, ladder[i].velocities, ladder[i].u = x[i], None, float(u[i])


def _exchange(ladder: list[_Replica], plan: Plan, k: int, record: _Record) -> list[_Replica]:
    """Swap neighbours (0, 1), (2, 3), ... after even rounds and (1, 2), ... after odd ones."""
    ladder, uniforms = list(ladder), plan.uniforms(k)
    b = plan.temperatures[0] / plan.temperatures
    for i in range(k % 2, len(ladder) - 1, 2):
        low, high = ladder[i], ladder[i + 1]
        record.attempts[i] += 1
        if not (np.isfinite(low.u) and np.isfinite(high.u)):
            continue
        # w = p_i(x_high) p_j(x_low) / (p_i(x_low) p_j(x_high)),  p_i(x) = exp(-b_i u(x)) / Z_i
        log_w = (b[i] - b[i + 1]) * (low.u - high.u)
        if log_w >= 0 or uniforms[i] < np.exp(log_w):
            record.accepted[i] += 1
            ladder[i], ladder[i + 1] = high, low
            _rescale(high, plan.temperatures[i] / plan.temperatures[i + 1])
            _rescale(low, plan.temperatures[i + 1] / plan.temperatures[i])
    return ladder


def _rescale(replica: _Replica, ratio: float) -> None:
    """Bring the velocities to the new temperature, so that kinetic energies stay in balance."""
    if replica.velocities is not None:
        replica.velocities = replica.velocities * np.sqrt(ratio)
