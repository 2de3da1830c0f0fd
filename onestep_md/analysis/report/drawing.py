"""All figures of a report, by the names of their files, and the drawing of a molecule."""

from collections.abc import Iterator

from matplotlib.figure import Figure

from onestep_md.analysis.figures import conformations, densities, evidence
from onestep_md.analysis.figures.particles import particle_figure
from onestep_md.analysis.figures.structure import draw_structure
from onestep_md.analysis.records.density import DensityRecord
from onestep_md.analysis.records.folder import AnyRecord
from onestep_md.analysis.records.molecule import MoleculeRecord

HOW_TO_DRAW = (
    "RDKit is not installed where this report was written: `pip install rdkit`, and `onestep-md "
    "report` of the run folder then draws the molecule here, with its torsions marked."
)


def draw_molecule(run: AnyRecord) -> tuple[str, str]:
    """Draw the molecule of a run as an SVG, empty if there is none; also say what is missing."""
    if not (isinstance(run, MoleculeRecord) and run.structure and run.results.torsion_atoms):
        return "", ""
    torsions = dict(zip(run.results.torsions, run.results.torsion_atoms, strict=True))
    try:
        return draw_structure(run.structure, torsions, run.atom_names), ""
    except ImportError:
        return "", HOW_TO_DRAW


def draw_figures(run: AnyRecord) -> Iterator[tuple[str, Figure]]:
    """Draw, one after the other, the figures for which the run has data."""
    if isinstance(run, MoleculeRecord):
        loss = "energy (kT)"
        yield from _molecule_figures(run)
    else:
        loss = "log Z − median log w (nats)"
        yield from _density_figures(run)
    yield "steps", evidence.steps_figure(run)
    if run.samples.has_weights:
        yield "weights", evidence.weight_figure(run)
    if len(run.history.pretraining["step"]) > 1:
        yield "pretraining", evidence.pretraining_figure(run)
    if len(run.history.metrics["step"]) > 1:
        yield "training", evidence.training_figure(run, loss)


def _molecule_figures(run: MoleculeRecord) -> Iterator[tuple[str, Figure]]:
    pairs = conformations.torsion_pairs(run.results.torsions)
    if pairs:
        name = "ramachandran" if conformations.is_ramachandran(pairs) else "surface"
        yield name, conformations.surface_figure(run)
    if run.results.torsions:
        yield "torsions", conformations.profile_figure(run)
    yield "energies", conformations.energy_figure(run)
    if run.histograms:
        yield "distances", conformations.distance_figure(run)


def _density_figures(run: DensityRecord) -> Iterator[tuple[str, Figure]]:
    if run.results.particles:
        yield "particles", particle_figure(run)
    coordinates = densities.choose_coordinates(run.target_x)
    if run.results.dim > 1:
        yield "samples", densities.pair_figure(run, (coordinates[0], coordinates[1]))
    yield "marginals", densities.marginal_figure(run, sorted(coordinates))
