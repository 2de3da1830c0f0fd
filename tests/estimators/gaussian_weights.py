"""Log weights with closed forms: q = N(0, 1), p~ = exp(-(x - M)^2 / 2 S^2)."""

import numpy as np
from scipy.signal import lfilter

M, S = 0.3, 0.8
LOG_Z = np.log(S * np.sqrt(2 * np.pi))
# ELBO = log Z - KL(q||p), EUBO = log Z + KL(p||q)
ELBO = LOG_Z - (np.log(S) + (1 + M**2) / (2 * S**2) - 0.5)
EUBO = LOG_Z + (-np.log(S) + (S**2 + M**2) / 2 - 0.5)
# int p^2 / q dx = exp(M^2 / (2 - S^2)) / (S sqrt(2 - S^2)), and the ESS fraction is its inverse
TRUE_ESS = S * np.sqrt(2 - S**2) * np.exp(-(M**2) / (2 - S**2))


def log_w_at(x: np.ndarray) -> np.ndarray:
    return -0.5 * ((x - M) / S) ** 2 + 0.5 * x**2 + 0.5 * np.log(2 * np.pi)


def flow(generator: np.random.Generator, n: int) -> np.ndarray:
    return log_w_at(generator.standard_normal(n))


def target(generator: np.random.Generator, n: int, rho: float = 0.0) -> np.ndarray:
    """Target samples from a stationary AR(1) chain with autocorrelations rho^t."""
    noise = generator.standard_normal(n) * np.sqrt(1 - rho**2)
    noise[0] = generator.standard_normal()
    return log_w_at(M + S * lfilter([1.0], [1.0, -rho], noise))
