"""The flow as an independence proposal of a Markov chain: see `estimators.chain`."""

from dataclasses import dataclass

import numpy as np

from onestep_md.estimators.chain import independence_chain
from onestep_md.estimators.correlation import statistical_inefficiency
from onestep_md.estimators.weights import resample
from onestep_md.sampling.draw import Samples

STARTS = 100  # samples from which the start is resampled, so that it is nearly one of the target


@dataclass(frozen=True)
class Chain:
    """States of a Markov chain that leaves the target invariant, of equal weight.

    Attributes:
        x: (n, ...) configurations in order; one that stays is repeated.
        u: (n,) their reduced energies.
        log_w: (n,) their log weights in the flow.
        acceptance: accepted fraction of the proposals.
        inefficiency: statistical inefficiency of u along the chain, which is worth n / it
            independent samples for averages that follow u.
    """

    x: np.ndarray
    u: np.ndarray
    log_w: np.ndarray
    acceptance: float
    inefficiency: float


def make_chain(samples: Samples, generator: np.random.Generator) -> Chain:
    """Start at one of the first `STARTS` samples, by weight, and propose the others in turn.

    Raises:
        OneStepError: none of the first samples has any weight.
    """
    (start,) = resample(samples.log_w[:STARTS], 1, generator)
    order = np.concatenate([[start], np.arange(STARTS, len(samples.log_w))])
    path, acceptance = independence_chain(samples.log_w[order], generator)
    chosen = order[path]
    u = samples.u[chosen]
    return Chain(
        samples.x[chosen], u, samples.log_w[chosen], acceptance, statistical_inefficiency(u)
    )
