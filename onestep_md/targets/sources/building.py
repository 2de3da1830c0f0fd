"""Geometries of molecules whose bonds, terms and isomer are known, from no coordinates at all.

Atoms start where distances along the bonds put them (classical multidimensional scaling), with
noise. The bonded terms of the force field then make the local shape, beside restraints that take
the isomer wanted and a soft repulsion; the whole force field comes last. Several tries with seeds
of their own are checked, and the lowest in energy is kept.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import networkx
import numpy as np
import openmm
from openmm import app

from onestep_md.targets.reference_energy import ReferenceEnergy
from onestep_md.targets.system_bonds import find_radius

Quad = tuple[int, int, int, int]

_TRIES = 24  # at most
_ENOUGH, _ATOMS = 4, 300  # good tries, and atoms in all of them: small molecules get more tries
_NOISE = 0.1  # nm
_ANGLE = np.radians(112.0)  # between two bonds, for distances of 1-3 neighbours
_RESTRAINT = 500.0  # kJ/mol
_REACH = {"H": 0.08}  # nm; two atoms are as far apart as the sum of these
_OTHER_REACH = 0.14
_STIFFNESS = 2e4  # kJ/mol/nm^2, of the soft repulsion
# kJ/mol/nm and iterations at most of minimisations
_SHAPED, _ROUGH, _FINE = (10.0, 500), (10.0, 100), (1.0, 300)
_WANTED, _LEAST = 0.6, 0.25  # volumes of three unit vectors; of a tetrahedral centre it is 0.77
_STRETCHED = 1.25  # times the sum of the covalent radii, of a bond at most
_TORSION = np.radians(80.0)  # off the planes of cis and trans, at most
_RING = 10  # atoms, of rings that are checked for bonds through them
_BONDS = (
    openmm.HarmonicBondForce, openmm.HarmonicAngleForce, openmm.CustomBondForce,
    openmm.CustomAngleForce,
)  # fmt: skip
_TORSIONS = (
    openmm.PeriodicTorsionForce, openmm.RBTorsionForce, openmm.CMAPTorsionForce,
    openmm.CustomTorsionForce,
)  # fmt: skip
# groups of forces: torsions and contacts may hold an atom on the wrong side of its neighbours
_FIRST, _ALL = {0}, {0, 1}


@dataclass(frozen=True)
class Isomer:
    """What a geometry has to be besides its bonds.

    Attributes:
        centres: (centre, a, b, c, d) of every atom with four neighbours; a, b and c have a
            positive volume from the centre.
        torsions: (a, i, j, d) of bonds that are cis or trans.
        cis: which of `torsions` are cis.
    """

    centres: tuple[tuple[int, int, int, int, int], ...]
    torsions: tuple[Quad, ...]
    cis: tuple[bool, ...]


def build_geometry(
    system: openmm.System, topology: app.Topology, isomer: Isomer
) -> tuple[np.ndarray | None, str]:
    """Build a geometry (atoms, 3) in nm of low energy, the same one each time.

    Returns:
        The geometry, or None where every try failed, and what was wrong with the last one.
    """
    bonds = np.array([(a.index, b.index) for a, b in topology.bonds()])
    elements = [atom.element.symbol for atom in topology.atoms()]
    distances = _distances_along_bonds(elements, bonds)
    shaping = ReferenceEnergy(_shaping_system(system, isomer, distances, bonds, elements))
    whole = ReferenceEnergy(system)
    rings = _small_rings(bonds)
    good: list[tuple[float, np.ndarray]] = []
    wrong = ""
    for seed in range(_TRIES):
        x = _scatter(distances, np.random.default_rng(seed))
        for groups in (_FIRST, _ALL):
            shaping.context.getIntegrator().setIntegrationForceGroups(groups)
            _, x = shaping.minimise(x, *_SHAPED)
        energy, x = whole.minimise(x, *_ROUGH)
        wrong = _find_fault(x, isomer, bonds, elements, rings) if np.isfinite(energy) else "energy"
        if not wrong:
            good.append((energy, x))
        if len(good) == max(_ENOUGH, _ATOMS // len(elements)):
            break
    for _, x in sorted(good, key=lambda each: each[0]):
        _, x = whole.minimise(x, *_FINE)
        wrong = _find_fault(x, isomer, bonds, elements, rings)
        if not wrong:
            return x - x.mean(axis=0), ""
    return None, wrong


def _distances_along_bonds(elements: Sequence[str], bonds: np.ndarray) -> np.ndarray:
    """Compute lengths (n, n) in nm of shortest ways over bonds and pairs of 1-3 neighbours."""
    n = len(elements)
    radii = np.array([find_radius(symbol) for symbol in elements])
    d = np.full((n, n), np.inf)
    np.fill_diagonal(d, 0.0)
    i, j = bonds.T
    d[i, j] = d[j, i] = radii[i] + radii[j]
    graph = networkx.Graph(bonds.tolist())
    for k in graph:
        for a in graph[k]:
            for b in graph[k]:
                if a != b:
                    squared = d[a, k] ** 2 + d[k, b] ** 2 - 2 * d[a, k] * d[k, b] * np.cos(_ANGLE)
                    d[a, b] = min(d[a, b], np.sqrt(squared))
    for k in range(n):
        d = np.minimum(d, d[:, k, None] + d[None, k])
    return d


def _scatter(distances: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Place atoms in space by their distances, which cannot all be met, and add noise."""
    centred = distances**2 - (distances**2).mean(axis=0)
    gram = -0.5 * (centred - centred.mean(axis=1, keepdims=True))
    values, vectors = np.linalg.eigh(gram)
    x = vectors[:, -3:] * np.sqrt(np.maximum(values[-3:], 0.0))
    return x + _NOISE * generator.standard_normal(x.shape)


def _shaping_system(
    system: openmm.System,
    isomer: Isomer,
    distances: np.ndarray,
    bonds: np.ndarray,
    elements: Sequence[str],
) -> openmm.System:
    """Make a System of the bonded terms, the restraints and the soft repulsion."""
    shaping = openmm.System()
    for _ in elements:
        shaping.addParticle(1.0)
    own = [openmm.XmlSerializer.clone(force) for force in system.getForces()]
    first = [force for force in own if isinstance(force, _BONDS)]
    later = [force for force in own if isinstance(force, _TORSIONS)]
    first += [_volume_force(isomer, distances), _torsion_force(isomer)]
    later += [_repulsion(bonds, elements)]
    for group, forces in enumerate((first, later)):
        for force in forces:
            force.setForceGroup(group)
            shaping.addForce(force)
    return shaping


def _volume_force(isomer: Isomer, distances: np.ndarray) -> openmm.Force:
    """Restrain the signed volumes of all four triples of arms of every centre.

    One triple alone leaves room for the fourth arm on the wrong side.
    """
    force = openmm.CustomCompoundBondForce(
        4,
        f"{_RESTRAINT}*step(1-w)*(1-w)^2; w=volume/small;"
        "volume=ax*(by*cz-bz*cy)+ay*(bz*cx-bx*cz)+az*(bx*cy-by*cx);"
        "ax=x2-x1; ay=y2-y1; az=z2-z1; bx=x3-x1; by=y3-y1; bz=z3-z1; cx=x4-x1; cy=y4-y1; cz=z4-z1",
    )
    force.addPerBondParameter("small")
    for i, a, b, c, d in isomer.centres:
        for arms in ([a, b, c], [a, d, b], [a, c, d], [b, d, c]):
            force.addBond([i, *arms], [_WANTED * np.prod(distances[i, arms])])
    return force


def _torsion_force(isomer: Isomer) -> openmm.Force:
    force = openmm.CustomTorsionForce(f"{_RESTRAINT}*(1-cos(theta-theta0))")
    force.addPerTorsionParameter("theta0")
    for quad, cis in zip(isomer.torsions, isomer.cis, strict=True):
        force.addTorsion(*quad, [0.0 if cis else np.pi])
    return force


def _repulsion(bonds: np.ndarray, elements: Sequence[str]) -> openmm.Force:
    """Keep atoms apart by a force that stays finite where they meet."""
    force = openmm.CustomNonbondedForce(
        f"{_STIFFNESS}*step(contact-r)*(contact-r)^2; contact=reach1+reach2"
    )
    force.addPerParticleParameter("reach")
    for symbol in elements:
        force.addParticle([_REACH.get(symbol, _OTHER_REACH)])
    force.createExclusionsFromBonds(bonds.tolist(), 3)
    return force


def _find_fault(
    x: np.ndarray,
    isomer: Isomer,
    bonds: np.ndarray,
    elements: Sequence[str],
    rings: Sequence[Sequence[int]],
) -> str:
    """Say what is wrong with a geometry; nothing where it is as wanted."""
    radii = np.array([find_radius(symbol) for symbol in elements])
    i, j = bonds.T
    if (np.linalg.norm(x[i] - x[j], axis=1) > _STRETCHED * (radii[i] + radii[j])).any():
        return "a bond is broken"
    for centre, *arms, _ in isomer.centres:
        unit_vectors = x[arms] - x[centre]
        unit_vectors /= np.linalg.norm(unit_vectors, axis=1, keepdims=True)
        if np.linalg.det(unit_vectors) < _LEAST:
            return "a stereocentre is inverted"
    for quad, cis in zip(isomer.torsions, isomer.cis, strict=True):
        if abs(_torsion(x[list(quad)]) - (0.0 if cis else np.pi)) > _TORSION:
            return f"an amide is not {'cis' if cis else 'trans'}"
    if any(_is_pierced(x, ring, bonds) for ring in rings):
        return "a bond goes through a ring"
    return ""


def _torsion(x: np.ndarray) -> float:
    """Compute the size of a torsion of four points, from 0 to pi."""
    a, axis, b = x[0] - x[1], x[2] - x[1], x[3] - x[2]
    first, second = np.cross(a, axis), np.cross(b, axis)
    cosine = first @ second / (np.linalg.norm(first) * np.linalg.norm(second))
    return float(np.arccos(np.clip(cosine, -1.0, 1.0)))


def _small_rings(bonds: np.ndarray) -> list[list[int]]:
    """List rings of up to ten atoms, in order around them."""
    graph = networkx.Graph(bonds.tolist())
    cycles = [ring for ring in networkx.minimum_cycle_basis(graph) if len(ring) <= _RING]
    return [networkx.cycle_basis(graph.subgraph(ring))[0] for ring in cycles]


def _is_pierced(x: np.ndarray, ring: Sequence[int], bonds: np.ndarray) -> bool:
    """Whether a bond goes through one of the triangles from the middle of a ring to its sides."""
    others = bonds[~np.isin(bonds, ring).any(axis=1)]
    start, way = x[others[:, 0]], x[others[:, 1]] - x[others[:, 0]]
    middle = x[list(ring)].mean(axis=0)
    for k in range(len(ring)):
        one, other = x[ring[k - 1]] - middle, x[ring[k]] - middle
        # start + t way = middle + u one + v other, by Cramer's rule
        normal = np.cross(one, other)
        determinant = way @ normal
        safe = np.where(np.abs(determinant) > 1e-12, determinant, np.inf)
        moved = middle - start
        t = (moved @ normal) / safe
        turned = np.cross(moved, way)
        u, v = (turned @ other) / safe, -(turned @ one) / safe
        if ((t > 0) & (t < 1) & (u > 0) & (v > 0) & (u + v < 1)).any():
            return True
    return False
