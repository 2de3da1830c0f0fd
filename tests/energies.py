"""Energy functions by formula, for samplers that need nothing else."""

import numpy as np


class Energy:
    """An energy function from a formula; rows that are not finite are outside its support."""

    def __init__(self, formula):
        self.formula, self.rows = formula, 0

    def evaluate(self, x):
        self.rows += len(x)
        with np.errstate(all="ignore"):
            u, grad_u = self.formula(x)
        return u, np.where(np.isinf(u)[:, None], 0.0, grad_u)


def gaussian(mean, covariance):
    """Returns u = (x - m) C^-1 (x - m) / 2 and its log Z."""
    precision = np.linalg.inv(covariance)

    def formula(x):
        gradient = (x - mean) @ precision
        return 0.5 * ((x - mean) * gradient).sum(axis=1), gradient

    return Energy(formula), 0.5 * np.linalg.slogdet(2 * np.pi * covariance)[1]


def correlated(dim, shortest, longest, seed=0):
    """Returns a rotated covariance whose axes have variances from shortest to longest."""
    axes = np.linalg.qr(np.random.default_rng(seed).normal(size=(dim, dim)))[0]
    return (axes * np.geomspace(shortest, longest, dim)) @ axes.T
