r"""How fast a batch of energies comes back, predicted from four measured costs.

A batch of n conformations is cut into J jobs (`distributed.jobs.number_of_jobs`) for W evaluators:

    evaluators   ceil(J / W) (c n / J + o)     c: seconds per conformation, o: overhead per job
    driver       J o + n b s                   b: bytes per conformation, s: driver's s per byte
    batch        max(evaluators, driver) + l   l: latency of one job, there and back

and a training step takes as long as the slower of learner and batch, since they overlap: the pool
queues as many jobs as last until the learner is back. What the model leaves out: networks slower
than `s` (measured inside one machine), uneven evaluators, and the driver's bookkeeping, which
grows slowly with the number of jobs in flight. `benchmark throughput` measures the costs and
prints prediction beside measurement.
"""

from dataclasses import dataclass

from onestep_md.distributed.jobs import number_of_jobs

FLOAT_BYTES = 8


@dataclass(frozen=True)
class Throughput:
    """The costs of one target and one machine, all in seconds.

    Attributes:
        frame: one evaluator, one conformation
        job: actor and driver, each, for one job beside the energies in it
        byte: driver, for one byte sent or received
        latency: one small job there and back on an idle pool
        atoms: of the target
    """

    frame: float
    job: float
    byte: float
    latency: float
    atoms: int

    @property
    def frame_bytes(self) -> int:
        """Bytes of a conformation: positions there, gradients and an energy back."""
        return FLOAT_BYTES * (6 * self.atoms + 1)

    def driver_seconds(self, frames: int, workers: int) -> float:
        """Time the driver is busy with one batch."""
        jobs = number_of_jobs(frames, workers, self.frame)
        return jobs * self.job + frames * self.frame_bytes * self.byte

    def batch_seconds(self, frames: int, workers: int) -> float:
        """From `submit` to the end of `collect`."""
        jobs = number_of_jobs(frames, workers, self.frame)
        evaluators = -(-jobs // workers) * (frames / jobs * self.frame + self.job)
        return max(evaluators, self.driver_seconds(frames, workers)) + self.latency

    def step_seconds(self, frames: int, workers: int, learner: float) -> float:
        """Batch and learner (seconds per step), which run at the same time."""
        return max(learner, self.batch_seconds(frames, workers))

    def driver_limit(self, frames: int, workers: int) -> float:
        """Number of evaluators that one driver can keep busy with jobs of that size."""
        return frames * self.frame / self.driver_seconds(frames, workers)
