"""Internal coordinates: round trips, signs, and log-determinants against dense Jacobians."""

import dataclasses
import math
from pathlib import Path

import mdtraj
import numpy as np
import pytest
import torch
from shapes import distances, signed_volumes
from torch.autograd.functional import jacobian

from onestep_md.config import MoleculeTarget
from onestep_md.coordinates.internal import InternalCoordinates
from onestep_md.coordinates.zmatrix import build_zmatrix

SYSTEMS = Path(__file__).parents[2] / "systems"


@pytest.fixture
def build(random_molecule):
    """Coordinates, z-matrix and five frames of a random molecule, some bonds constrained."""

    def build(seed: int, n: int, rings: int = 0, constrained: int = 0):
        molecule = random_molecule(seed, n, rings)
        tree = molecule.bonds[: n - 1]
        constraints = [(i, j, 0.1 + 0.01 * k) for k, (i, j) in enumerate(tree[:constrained])]
        zmatrix = build_zmatrix(molecule.elements, molecule.bonds, constraints, molecule.frames[0])
        # the bonds that close random rings have another length in every frame
        zmatrix = dataclasses.replace(zmatrix, loose=())
        return InternalCoordinates(zmatrix), zmatrix, torch.as_tensor(molecule.frames)

    return build


def wrapped(q: torch.Tensor, coordinates: InternalCoordinates) -> torch.Tensor:
    """The same q with its torsions turned into [-pi, pi)."""
    q = q.clone()
    t = q[:, -coordinates.n_torsions :]
    q[:, -coordinates.n_torsions :] = torch.remainder(t + math.pi, 2 * math.pi) - math.pi
    return q


@pytest.mark.parametrize(("seed", "n", "rings"), [(i, 4 + 2 * i, i % 4) for i in range(15)])
def test_cartesian_round_trip_up_to_rigid_motion(seed, n, rings, build):
    coordinates, zmatrix, x = build(seed, n, rings)
    q, log_det = coordinates.from_cartesian(x)
    assert q.shape == (5, 3 * n - 6) and q.dtype == torch.float64
    back, log_det_back = coordinates.to_cartesian(q)
    np.testing.assert_allclose(distances(back), distances(x), atol=1e-11)
    np.testing.assert_allclose(signed_volumes(back), signed_volumes(x), atol=1e-12)
    np.testing.assert_allclose(log_det, log_det_back, rtol=1e-13)
    first, second, third = zmatrix.atom[:3]
    assert (back[:, first] == 0).all() and (back[:, second, 1:] == 0).all()
    assert (back[:, second, 0] > 0).all() and (back[:, third, 1] > 0).all()
    assert (back[:, third, 2] == 0).all()


@pytest.mark.parametrize("seed", range(8))
def test_internal_round_trip(seed, build):
    coordinates, _, _ = build(seed, 12, constrained=seed % 4)
    generator = torch.Generator().manual_seed(seed)
    u = torch.rand(64, coordinates.dim, generator=generator, dtype=torch.float64)
    bonds, angles = coordinates.n_bonds, coordinates.n_angles
    q = torch.cat(
        [
            0.08 + 0.1 * u[:, :bonds],
            0.2 + 2.7 * u[:, bonds : bonds + angles],
            (2 * u[:, bonds + angles :] - 1) * 4.0,  # beyond one turn
        ],
        dim=-1,
    )
    x, log_det = coordinates.to_cartesian(q)
    again, log_det_again = coordinates.from_cartesian(x)
    np.testing.assert_allclose(again, wrapped(q, coordinates), atol=1e-9)
    np.testing.assert_allclose(log_det, log_det_again, rtol=1e-11)


@pytest.mark.parametrize("seed", range(8))
def test_ring_round_trip(seed, build):
    """About real geometries: most lengths drawn at random close no ring."""
    coordinates, _, x = build(seed, 14, rings=1 + seed % 3)
    assert coordinates.closing.any()
    q, _ = coordinates.from_cartesian(x.repeat(20, 1, 1))
    generator = torch.Generator().manual_seed(seed)
    q = q + 0.002 * torch.randn(q.shape, generator=generator, dtype=torch.float64)
    x, log_det = coordinates.to_cartesian(q)
    again, log_det_again = coordinates.from_cartesian(x)
    closed = log_det.isfinite()
    assert closed.double().mean() > 0.5
    expected = wrapped(q, coordinates)[closed]
    np.testing.assert_allclose(again[closed], expected, atol=1e-8)
    np.testing.assert_allclose(log_det[closed], log_det_again[closed], rtol=1e-9)


@pytest.mark.parametrize(("seed", "n", "rings"), [(0, 4, 0), (1, 5, 1), (2, 8, 0), (3, 10, 2)])
def test_log_det_is_that_of_the_dense_jacobian(seed, n, rings, build):
    """The rule dx = d(translation) d(rotation) exp(log_det) dq with no constant left.

    The rotation vector at the identity has unit density with respect to the Haar measure of total
    volume 8 pi^2, so the full (3n, 3n) determinant must equal the formula exactly.
    """
    coordinates, _, frames = build(seed, n, rings)
    for x in frames:
        q, expected = coordinates.from_cartesian(x[None])

        def everything(p):
            x, _ = coordinates.to_cartesian(p[6:][None])
            w = p[3:6]
            zero = torch.zeros((), dtype=torch.float64)
            skew = torch.stack([zero, -w[2], w[1], w[2], zero, -w[0], -w[1], w[0], zero])
            return (x[0] @ torch.matrix_exp(skew.reshape(3, 3)).T + p[:3]).reshape(-1)

        p = torch.cat([torch.zeros(6, dtype=torch.float64), q[0]])
        dense = jacobian(everything, p)
        assert dense.shape == (3 * n, 3 * n)
        _, log_det = torch.linalg.slogdet(dense)
        assert abs(log_det - expected[0]) < 1e-9


def test_constrained_bonds_drop_out_but_keep_their_constant(build):
    free, _, x = build(7, 14)
    tied, zmatrix, _ = build(7, 14, constrained=5)
    assert (tied.n_bonds, tied.dim) == (free.n_bonds - 5, free.dim - 5)
    q, _ = tied.from_cartesian(x)
    y, log_det = tied.to_cartesian(q)
    rows = np.flatnonzero(np.isfinite(zmatrix.fixed_length))
    lengths = (y[:, zmatrix.atom[rows]] - y[:, zmatrix.bond_to[rows]]).norm(dim=-1)
    np.testing.assert_allclose(lengths, np.tile(zmatrix.fixed_length[rows], (5, 1)), rtol=1e-12)
    # the molecule without constraints at the same geometry has the same volume element
    np.testing.assert_allclose(log_det, free.from_cartesian(y)[1], rtol=1e-12)
    np.testing.assert_allclose(tied.from_cartesian(y)[0], q, atol=1e-10)


def test_torsions_and_angles_have_the_signs_of_mdtraj(build):
    coordinates, z, x = build(11, 24, rings=2)
    q, _ = coordinates.from_cartesian(x)
    topology = mdtraj.Topology()
    residue = topology.add_residue("MOL", topology.add_chain())
    for i in range(24):
        topology.add_atom(f"C{i}", mdtraj.element.carbon, residue)
    trajectory = mdtraj.Trajectory(x.numpy(), topology)
    chains = np.stack([z.atom, z.bond_to, z.angle_to, z.torsion_to], axis=1)
    expected = mdtraj.compute_dihedrals(trajectory, chains[3:], periodic=False)
    gap = q[:, -coordinates.n_torsions :].numpy() - expected
    assert np.abs(np.angle(np.exp(1j * gap))).max() < 1e-4  # mdtraj works in float32
    angles = mdtraj.compute_angles(trajectory, chains[2:, :3], periodic=False)
    closing = mdtraj.compute_distances(trajectory, chains[2:, [0, 2]], periodic=False)
    expected = np.where(coordinates.closing, closing, angles)
    first = coordinates.n_bonds
    measured = q[:, first : first + coordinates.n_angles]
    np.testing.assert_allclose(measured, expected, atol=1e-3)
    bonds = mdtraj.compute_distances(trajectory, chains[1:, :2], periodic=False)
    np.testing.assert_allclose(q[:, :first], bonds, atol=1e-6)


def test_half_turn_is_minus_pi():
    flat = np.array([[[0.1, 0.1, 0], [0, 0, 0], [0.15, 0, 0], [0.05, -0.1, 0]]])
    coordinates = InternalCoordinates(
        build_zmatrix(list("HOOH"), [(0, 1), (1, 2), (2, 3)], [], flat[0])
    )
    flat[0, 3] = [0.2, -0.1, 0]
    q, _ = coordinates.from_cartesian(torch.as_tensor(flat))
    assert q[0, -1] == -math.pi
    assert coordinates.names[-1].startswith("torsion ") and len(coordinates.names) == 6
    assert coordinates.torsion_proper.tolist() == [True]


@pytest.mark.parametrize("seed", range(5))
def test_a_proper_torsion_turns_one_side_rigidly(seed, build):
    coordinates, z, x = build(20 + seed, 18)
    q, _ = coordinates.from_cartesian(x[:1])
    before, _ = coordinates.to_cartesian(q)
    above = dict(zip(z.atom[1:].tolist(), z.bond_to[1:].tolist(), strict=True))

    def hangs_below(atom, top):
        while atom != top and atom in above:
            atom = above[atom]
        return atom == top

    checked = 0
    for k in np.flatnonzero(coordinates.torsion_proper.numpy()):
        row = 3 + k
        b, c = int(z.bond_to[row]), int(z.angle_to[row])
        lower = b if above.get(b) == c else c
        side = np.array([hangs_below(i, lower) for i in range(18)])
        turned = q.clone()
        turned[0, -coordinates.n_torsions + k] += 0.7
        after, _ = coordinates.to_cartesian(turned)
        for part in (side, ~side):
            old, new = before[:, part], after[:, part]
            np.testing.assert_allclose(distances(new), distances(old), atol=1e-10)
        assert (distances(after) - distances(before)).abs().max() > 1e-3
        checked += 1
    assert checked


def test_gradients_against_finite_differences(build):
    coordinates, _, x = build(31, 9, rings=1, constrained=2)
    x = x[:2]
    q, _ = coordinates.from_cartesian(x)
    inputs = q.clone().requires_grad_(), x.clone().requires_grad_()
    options = {"eps": 1e-7, "atol": 1e-4, "rtol": 1e-4}
    assert torch.autograd.gradcheck(coordinates.to_cartesian, inputs[:1], **options)
    assert torch.autograd.gradcheck(coordinates.from_cartesian, inputs[1:], **options)


def test_gradients_are_those_of_finite_differences(build):
    coordinates, _, x = build(32, 10, rings=1)
    q, _ = coordinates.from_cartesian(x)

    def energy(q):
        x, log_det = coordinates.to_cartesian(q)
        return distances(x).sin().sum((-2, -1)) + log_det

    (grad_q,) = torch.autograd.grad(energy(q.requires_grad_()).sum(), q)
    q = q.detach()
    for k in range(coordinates.dim):
        step = torch.zeros_like(q)
        step[:, k] = 1e-6
        difference = (energy(q + step) - energy(q - step)) / 2e-6
        np.testing.assert_allclose(grad_q[:, k], difference, atol=2e-6)


def test_impossible_coordinates_have_no_volume(build):
    coordinates, _, x = build(33, 8)
    q, _ = coordinates.from_cartesian(x[:1])
    bad = q.repeat(9, 1)
    angle = coordinates.n_bonds
    bad[0, 0], bad[1, 2] = 0.0, -0.1
    bad[2, angle], bad[3, angle], bad[4, angle + 3], bad[5, angle] = 0.0, math.pi, -0.1, 3.5
    bad[6, -1], bad[7, 1] = math.nan, math.inf
    bad.requires_grad_()
    x, log_det = coordinates.to_cartesian(bad)
    assert (log_det[:8] == -math.inf).all() and log_det[8].isfinite()
    assert x[[0, 1, 2, 3, 4, 5, 8]].isfinite().all()
    (grad,) = torch.autograd.grad(x[:6].sum() + log_det.where(log_det.isfinite(), 0.0).sum(), bad)
    assert grad[[0, 1, 2, 3, 4, 5, 8]].isfinite().all()


def test_degenerate_conformations_have_finite_gradients(build):
    coordinates, _, _ = build(34, 8)
    line = torch.zeros(2, 8, 3, dtype=torch.float64)
    line[0, :, 0] = torch.arange(8) * 0.1  # all on a line; the second frame all at one point
    line.requires_grad_()
    q, log_det = coordinates.from_cartesian(line)
    assert q.isfinite().all() and (log_det == -math.inf).all()
    (grad,) = torch.autograd.grad(q.sum(), line)
    assert grad.isfinite().all()


def test_near_singular_angles_keep_their_precision(build):
    coordinates, _, x = build(35, 8)
    q, _ = coordinates.from_cartesian(x[:1])
    q[0, coordinates.n_bonds] = 1e-5
    q[0, coordinates.n_bonds + 1] = math.pi - 1e-5
    again, _ = coordinates.from_cartesian(coordinates.to_cartesian(q)[0])
    first = coordinates.n_bonds
    np.testing.assert_allclose(again[:, first : first + 2], q[:, first : first + 2], atol=1e-12)


def test_single_precision_input_is_computed_in_double(build):
    coordinates, _, x = build(36, 8)
    q, log_det = coordinates.from_cartesian(x.float())
    assert q.dtype == log_det.dtype == torch.float64
    assert coordinates.to_cartesian(q.float())[0].dtype == torch.float64


@pytest.mark.skipif(not (SYSTEMS / "alanine.pdb").exists(), reason="systems/alanine.pdb not there")
@pytest.mark.parametrize("constraints", ["none", "hbonds"])
def test_alanine_dipeptide(constraints):
    molecule_module = pytest.importorskip("onestep_md.targets.molecule")
    target = MoleculeTarget(
        kind="molecule",
        pdb="alanine.pdb",
        forcefield=["amber99sbildn.xml", "amber99_obc.xml"],
        system=None,
        constraints=constraints,
        held="amides",
        temperature=300.0,
    )
    molecule = molecule_module.load_molecule(target, SYSTEMS)
    zmatrix = build_zmatrix(
        molecule.elements, molecule.bonds, molecule.constraints, molecule.positions
    )
    coordinates = InternalCoordinates(zmatrix)
    assert coordinates.dim == (60 if constraints == "none" else 48)
    assert coordinates.torsion_proper.sum() == 7
    x = torch.as_tensor(molecule.positions)[None]
    q, log_det = coordinates.from_cartesian(x)
    back, log_det_back = coordinates.to_cartesian(q)
    # constrained bonds of the PDB geometry are only as long as its digits say
    tolerance = 1e-10 if constraints == "none" else 5e-3
    np.testing.assert_allclose(distances(back), distances(x), atol=tolerance)
    np.testing.assert_allclose(signed_volumes(back), signed_volumes(x), atol=tolerance)
    np.testing.assert_allclose(log_det, log_det_back, rtol=1e-12)
    impropers = q[0, -coordinates.n_torsions :][~coordinates.torsion_proper]
    assert (impropers.abs() > math.radians(100)).all()
