"""Independence Metropolis-Hastings: a Markov chain over independent weighted samples.

A proposal x' ~ q replaces x with probability min(1, w(x') / w(x)), w = p / q, which leaves p
invariant (Tierney, Annals of Statistics 22, 1701 (1994)); q is a flow in Albergo, Kanwar and
Shanahan (arXiv 1904.12072), and in Wu, Koehler and Noe (arXiv 2002.06707).
"""

import numpy as np

from onestep_md.estimators.weights import checked_log_w


def independence_chain(
    log_w: np.ndarray, generator: np.random.Generator
) -> tuple[np.ndarray, float]:
    """Walk through samples, the first of which is the start and the others proposals in turn.

    Args:
        log_w: (n + 1,) log weights; -inf is never accepted from a finite one.
        generator: draws the acceptances.

    Returns:
        The sample (n,) at which the chain is after every proposal, and the accepted fraction.
    """
    log_w = checked_log_w(log_w)
    # u < w' / w in logarithms; log(1 - u) of u in [0, 1) is finite
    thresholds = np.log1p(-generator.random(len(log_w) - 1))
    here, path = 0, np.empty(len(thresholds), dtype=np.int64)
    accepted = 0
    for k, threshold in enumerate(thresholds, start=1):
        if log_w[k] > -np.inf and log_w[k] - log_w[here] >= threshold:
            here, accepted = k, accepted + 1
        path[k - 1] = here
    return path, accepted / len(path)
