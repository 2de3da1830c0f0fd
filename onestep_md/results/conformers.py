"""Conformers of a molecule from its weighted one-step samples, and their files.

A conformer is a tuple of wells, one of each reported torsion, see `coordinates.wells`.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from onestep_md.analysis.records.conformers import (
    SDF,
    Conformer,
    Conformers,
    InputGeometry,
    WellCount,
)
from onestep_md.analysis.sdf import MOST_ATOMS, sdf_record
from onestep_md.analysis.torsions import Quad, torsion_angles
from onestep_md.coordinates.alignment import kabsch_rotation
from onestep_md.coordinates.rotors import torsion_symmetries
from onestep_md.coordinates.symmetry import Images, find_images
from onestep_md.coordinates.wells import Wells
from onestep_md.estimators.conformers import (
    conformational_entropy,
    find_row,
    number_conformers,
)
from onestep_md.estimators.estimate import Estimate, no_estimate
from onestep_md.estimators.free_energy import (
    RegionFreeEnergy,
    dynamics_free_energies,
    region_free_energies,
)
from onestep_md.estimators.limits import ENOUGH_IN_REGION
from onestep_md.estimators.thermodynamics import Ensemble, reweighted_ensemble
from onestep_md.estimators.weights import normalised_weights
from onestep_md.files import write_text
from onestep_md.results.structure import molecule_bond_orders
from onestep_md.results.torsions import are_of_linear_backbone
from onestep_md.sampling.draw import Samples
from onestep_md.targets.molecule import KB, Molecule

_MOST = 20  # conformers that are listed
_OTHERS, _INPUT = "others", "input"


@dataclasses.dataclass(frozen=True)
class Explored:
    """Explored frames (m, atoms, 3) in nm of equal weight, and their walkers (m,)."""

    frames: np.ndarray
    walkers: np.ndarray


def find_conformers(
    molecule: Molecule,
    torsions: Mapping[str, Quad],
    samples: Samples,
    explored: Explored,
    seed: int,
) -> Conformers | None:
    """Find the conformers of a molecule, the most populated first.

    Those that a symmetry of the molecule maps onto each other are forms of one.

    Args:
        molecule: the molecule.
        torsions: reported torsions.
        samples: one-step samples.
        explored: frames of the exploration.
        seed: seed of the bootstrap.

    Returns:
        None without any torsion but those of a linear backbone, which has regions and surfaces of
        its own, and if no sample has any weight.
    """
    quads = list(torsions.values())
    if not quads or are_of_linear_backbone(molecule, quads):
        return None
    if not np.isfinite(samples.log_w).any():
        return None
    log_w, weights = samples.log_w, normalised_weights(samples.log_w)
    shapes, angles = _fit_shapes(molecule, quads, samples.x, weights)
    rows, conformer = number_conformers(shapes.number(angles), weights)
    listed = _choose_listed(conformer, weights)
    names = [str(k + 1) for k in range(len(listed))]
    own, frames = (
        find_row(rows, shapes.number(torsion_angles(x, shapes.images.quads)))
        for x in (molecule.positions[None], explored.frames)
    )
    own_row = int(own[0])

    members = [conformer == row for row in listed]
    members += [~np.isin(conformer, listed), conformer == own_row]
    inside, regions = np.column_stack(members), [*names, _OTHERS, _INPUT]
    first, generator = names[0] if names else None, np.random.default_rng(seed)
    flow = region_free_energies(regions, inside, log_w, first, generator)
    ensemble = reweighted_ensemble(
        samples.log_q, samples.u * molecule.kT, molecule.temperature, KB, regions, inside, seed
    )
    beside = _free_energies(frames, listed, explored.walkers, seed)
    differences = ensemble.between_regions(names[0]) if names else []

    several = shapes.wells.counts > 1
    described = []
    for k in range(len(listed)):
        chosen = np.flatnonzero(inside[:, k] & np.isfinite(log_w))
        chosen = chosen[shapes.find_main_form(angles[chosen], weights[chosen])]
        lowest = int(chosen[samples.u[chosen].argmin()])
        mean = shapes.wells.mean(angles[chosen, : len(quads)], weights[chosen])
        described.append(
            Conformer(
                angles=tuple(mean[several].tolist()),
                forms=shapes.count_forms(angles[lowest]),
                flow=flow[k],
                explored=beside[k],
                energy=differences[k].energy,
                entropy=differences[k].entropy,
                frame=lowest,
                u=float(samples.u[lowest]),
            )
        )
    return Conformers(
        wells=_count_wells(list(torsions), shapes.wells),
        single=tuple(name for name, many in zip(torsions, several, strict=True) if not many),
        rows=tuple(described),
        symmetries=shapes.images.count,
        count=len(np.unique(conformer[weights > 0.0])),
        others=flow[len(listed)].probability,
        entropy=conformational_entropy(conformer, log_w, generator),
        input=_describe_input(
            molecule, names[listed.index(own_row)] if own_row in listed else "", flow[-1], ensemble
        ),
    )


@dataclasses.dataclass(frozen=True)
class _Shapes:
    """Wells of torsions, up to the symmetries of a molecule.

    Angles (n, images) in rad are those of all torsions that the reported ones become.
    """

    wells: Wells
    images: Images

    def number(self, angles: np.ndarray) -> np.ndarray:
        """Number the wells (n, torsions) of the first form, in order, of each conformation."""
        first = self.wells.number(angles[:, self.images.columns[0]])
        for columns in self.images.columns[1:]:
            other = self.wells.number(angles[:, columns])
            at = (first != other).argmax(axis=1)[:, None]
            smaller = np.take_along_axis(other, at, 1) < np.take_along_axis(first, at, 1)
            first = np.where(smaller, other, first)
        return first

    def find_main_form(self, angles: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Find the conformations of one conformer (n,) that are in its form of largest weight."""
        number = self.wells.number(angles[:, self.images.columns[0]])
        return number_conformers(number, weights)[1] == 0

    def count_forms(self, angles: np.ndarray) -> int:
        """Count the forms of a conformation of angles (images,)."""
        return len(np.unique(self.wells.number(angles[self.images.columns]), axis=0))


def _fit_shapes(
    molecule: Molecule, quads: Sequence[Quad], x: np.ndarray, weights: np.ndarray
) -> tuple[_Shapes, np.ndarray]:
    """Fit wells of torsions to weighted samples; also return their angles."""
    symmetries = torsion_symmetries(molecule, quads)
    images = find_images(molecule, quads, symmetries)
    # a sample without finite positions has no weight, and its well does not matter
    angles = np.nan_to_num(torsion_angles(x, images.quads))
    return _Shapes(Wells.fit(angles, weights, symmetries, images.columns), images), angles


def _count_wells(names: Sequence[str], wells: Wells) -> tuple[WellCount, ...]:
    """Count the wells of torsions that have several."""
    rows = zip(names, wells.counts.tolist(), wells.symmetries.tolist(), strict=True)
    return tuple(
        WellCount(torsion=name, wells=count, symmetry=symmetry)
        for name, count, symmetry in rows
        if count > 1
    )


def _choose_listed(conformer: np.ndarray, weights: np.ndarray) -> list[int]:
    """Choose the most populated conformers that have enough effective samples."""
    sums, squares = np.bincount(conformer, weights), np.bincount(conformer, weights**2)
    enough = sums**2 >= ENOUGH_IN_REGION * squares
    # squares of tiny weights are zero, and then say nothing
    return np.flatnonzero(enough & (squares > 0.0))[:_MOST].tolist()


def _free_energies(
    conformer: np.ndarray, listed: list[int], walkers: np.ndarray, seed: int
) -> list[RegionFreeEnergy]:
    """Free energies of the listed conformers from explored frames."""
    if not listed:
        return []
    inside = np.column_stack([conformer == row for row in listed])
    names = [str(k + 1) for k in range(len(listed))]
    generator = np.random.default_rng(seed)
    return dynamics_free_energies(names, inside, walkers, names[0], generator)


def _describe_input(
    molecule: Molecule, name: str, region: RegionFreeEnergy, ensemble: Ensemble
) -> InputGeometry:
    p, mean = region.probability, ensemble.energy_of(_INPUT)
    u, kT = molecule.fingerprint.u_input, molecule.kT
    free_energy = no_estimate("no sample is in its conformer")
    if p.value > 0.0:
        free_energy = Estimate(-math.log(min(p.value, 1.0)), p.error / p.value)
    return InputGeometry(
        conformer=name,
        u=u,
        strain=Estimate(u - mean.value / kT, mean.error / kT, mean.reason),
        thermal=0.5 * (3 * len(molecule.elements) - 6 - len(molecule.constraints)),
        free_energy=free_energy,
    )


def write_sdf(
    folder: Path, molecule: Molecule, conformers: Conformers, x: np.ndarray
) -> list[str]:
    """Write conformers.sdf, the lowest sample of every listed conformer, laid over the first.

    Args:
        folder: run folder.
        molecule: the molecule.
        conformers: its conformers.
        x: (n, atoms, 3) one-step samples in nm.

    Returns:
        A warning if there is no file.
    """
    if not conformers.rows:
        return []
    orders, charges = molecule_bond_orders(molecule)
    if max(len(molecule.elements), len(orders)) > MOST_ATOMS:
        return [f"{SDF} is not written: its format has {MOST_ATOMS} atoms and bonds at most."]
    geometries = torch.from_numpy(x[[row.frame for row in conformers.rows]])
    first = geometries[:1].expand_as(geometries)
    centred = geometries - geometries.mean(1, keepdim=True)
    laid = (centred @ kabsch_rotation(geometries, first)).numpy()
    name, records = Path(molecule.fingerprint.pdb).stem, []
    for row, geometry in zip(conformers.rows, laid, strict=True):
        population, delta_f = row.flow.probability, row.flow.delta_f
        properties = {
            "conformer": row.name,
            "population": f"{population.value:.6g}",
            "population_error": f"{population.error:.2g}",
            "free_energy_kT": f"{delta_f.value:.6g}",
            "free_energy_kJ_per_mol": f"{delta_f.value * molecule.kT:.6g}",
            "free_energy_error_kJ_per_mol": f"{delta_f.error * molecule.kT:.2g}",
            "u_kT": f"{row.u:.6g}",
            "frame_of_samples_dcd": str(row.frame),
        }
        title = f"{name}, conformer {row.name}"
        records.append(sdf_record(title, molecule.elements, geometry, orders, charges, properties))
    write_text(folder / SDF, "".join(records))
    return []
