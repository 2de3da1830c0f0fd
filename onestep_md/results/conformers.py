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
from onestep_md.results.torsions import has_backbone
from onestep_md.sampling.draw import Samples
from onestep_md.targets.molecule import KB, Molecule

_MOST = 20  # conformers that are listed
_OTHERS, _INPUT = "others", "input"


@dataclasses.dataclass(frozen=True)
class Explored:
    """Explored frames of equal weight: their torsions (m, torsions) in rad, and walkers (m,)."""

    angles: np.ndarray
    walkers: np.ndarray


def find_conformers(
    molecule: Molecule,
    torsions: Mapping[str, Quad],
    samples: Samples,
    angles: np.ndarray,
    explored: Explored,
    seed: int,
) -> Conformers | None:
    """Find the conformers of a molecule without phi and psi, the most populated first.

    Args:
        molecule: the molecule.
        torsions: reported torsions.
        samples: one-step samples.
        angles: (n, torsions) their torsions in rad.
        explored: frames of the exploration.
        seed: seed of the bootstrap.

    Returns:
        None for a molecule with phi and psi, or with no torsion, and if no sample has any weight.
    """
    if not torsions or has_backbone(molecule) or not np.isfinite(samples.log_w).any():
        return None
    log_w, quads = samples.log_w, list(torsions.values())
    weights, symmetries = normalised_weights(log_w), torsion_symmetries(molecule, quads)
    # a sample without finite positions has no weight, and its well does not matter
    angles = np.nan_to_num(angles)
    wells = Wells.fit(angles, weights, symmetries)
    rows, conformer = number_conformers(wells.number(angles), weights)
    listed = _choose_listed(conformer, weights)
    names = [str(k + 1) for k in range(len(listed))]
    own = find_row(rows, wells.number(torsion_angles(molecule.positions[None], quads)))[0]

    inside = [conformer == row for row in listed]
    inside += [~np.isin(conformer, listed), conformer == own]
    regions, generator = [*names, _OTHERS, _INPUT], np.random.default_rng(seed)
    first = names[0] if names else None
    flow = region_free_energies(regions, np.column_stack(inside), log_w, first, generator)
    ensemble = reweighted_ensemble(
        samples.log_q,
        samples.u * molecule.kT,
        molecule.temperature,
        KB,
        regions,
        np.column_stack(inside),
        seed,
    )
    frames = find_row(rows, wells.number(explored.angles))
    beside = _free_energies(frames, listed, explored.walkers, seed)
    differences = ensemble.between_regions(names[0]) if names else []

    several = wells.counts > 1
    described = []
    for k in range(len(listed)):
        chosen = np.flatnonzero(inside[k] & np.isfinite(log_w))
        lowest = int(chosen[samples.u[chosen].argmin()])
        described.append(
            Conformer(
                angles=tuple(wells.mean(angles[chosen], weights[chosen])[several].tolist()),
                flow=flow[k],
                explored=beside[k],
                energy=differences[k].energy,
                entropy=differences[k].entropy,
                frame=lowest,
                u=float(samples.u[lowest]),
            )
        )
    return Conformers(
        wells=_count_wells(list(torsions), wells),
        single=tuple(name for name, many in zip(torsions, several, strict=True) if not many),
        rows=tuple(described),
        count=len(np.unique(conformer[weights > 0.0])),
        others=flow[len(listed)].probability,
        entropy=conformational_entropy(conformer, log_w, generator),
        input=_describe_input(
            molecule, names[listed.index(own)] if own in listed else "", flow[-1], ensemble
        ),
    )


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
    return np.flatnonzero(enough & (sums > 0.0))[:_MOST].tolist()


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
