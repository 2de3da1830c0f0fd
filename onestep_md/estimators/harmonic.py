r"""Log Z of a molecule whose energy is quadratic about its minimum, in Cartesian coordinates.

A closed form without a z-matrix, in the convention of `coordinates/internal.py`: rigid motion is
integrated out without its constant log(8 pi^2 V), dx = dx_0 dOmega exp(log_det) dq.

Near the minimum x = (a displacement by c) (a rotation by omega about the centroid) (3N - 6 normal
displacements xi). Moved by c, all N atoms move: a length of sqrt(N) |c| in R^3N. Turned by omega,
atom i moves by omega x r_i: a squared length of omega^T I omega with I = sum_i (r_i^2 - r_i r_i^T)
the inertia of unit masses. The three kinds are orthogonal to each other, so

    dx = N^{3/2} dc sqrt(det I) domega dxi,

and dc is dx_0, domega is the Haar measure of volume 8 pi^2, which leaves

    log Z = -u_0 + 3/2 log N + 1/2 log det I + (3N - 6)/2 log 2 pi - 1/2 log det' H

with det' H the determinant of d2u/dx2 on the displacements that are no rigid motion. A linear
molecule lacks one rotation: I has two equal moments, Omega is a direction of volume 4 pi instead
of 8 pi^2, and 3N - 5 displacements remain. The constant that is left out is that of bent
molecules, so a linear one of more than two atoms has log 2 pi less.
"""

import math

import numpy as np

_LINEAR = 1e-6  # smallest over largest moment of inertia below which a molecule is linear


def harmonic_log_z(u: float, hessian: np.ndarray, x: np.ndarray) -> float:
    """Log Z in the harmonic limit, without constrained bonds.

    Args:
        u: reduced energy of the minimum, in kT.
        hessian: (atoms, 3, atoms, 3) its second derivatives in kT/nm^2.
        x: (atoms, 3) the minimum in nm.
    """
    n = len(x)
    r = x - x.mean(0)
    moments, axes = np.linalg.eigh((r * r).sum() * np.eye(3) - r.T @ r)
    turning = moments > _LINEAR * moments[-1]
    moves = np.tile(np.eye(3), (n, 1))  # (3N, 3)
    turns = np.cross(axes.T[turning][:, None], r[None]).reshape(turning.sum(), -1).T
    rigid = np.concatenate([moves / math.sqrt(n), turns / np.sqrt(moments[turning])], axis=1)
    basis, _ = np.linalg.qr(np.concatenate([rigid, np.eye(3 * n)], axis=1))
    inner = basis[:, rigid.shape[1] : 3 * n]
    curvature = np.linalg.eigvalsh(inner.T @ hessian.reshape(3 * n, 3 * n) @ inner)
    if (curvature <= 0.0).any():
        raise ValueError("the Hessian is not positive: the geometry is not a minimum")
    log_volume = 1.5 * math.log(n) + 0.5 * np.log(moments[turning]).sum()
    if n > 2 and not turning.all():
        log_volume -= math.log(2.0 * math.pi)
    log_width = 0.5 * len(curvature) * math.log(2.0 * math.pi) - 0.5 * np.log(curvature).sum()
    return float(-u + log_volume + log_width)
