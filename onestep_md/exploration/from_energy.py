"""Exploration without dynamics: annealing of a density, or of a molecule from its own terms.

A molecule is annealed in the coordinates of `ForceFieldChart`, from independent bonds, angles and
torsions to the target at its temperature; the evaluators compute every energy. Every basin that
the torsions can reach is populated from the start, so nothing has to cross a barrier.

A density is annealed from a Gaussian, and again from a chart fitted to these samples.
"""

import dataclasses

import torch

from onestep_md.config import Config
from onestep_md.coordinates.base import Chart
from onestep_md.coordinates.flat import fit_flat_chart
from onestep_md.coordinates.force_field_chart import ForceFieldChart
from onestep_md.coordinates.marginals import find_wells
from onestep_md.coordinates.molecule import build_internal_coordinates, find_molecule_isomers
from onestep_md.distributed.pool import Evaluators
from onestep_md.exploration.annealing import anneal, anneal_from
from onestep_md.exploration.chart_density import ChartBase, ChartEnergy
from onestep_md.exploration.explored import Exploration
from onestep_md.exploration.families import family_error
from onestep_md.exploration.smc import Annealed, RunawayError
from onestep_md.progress import Display
from onestep_md.targets.gaps import fill_gradients
from onestep_md.targets.molecule import Molecule
from onestep_md.targets.terms import read_bonded_terms

_MOST_ROUNDS = 8  # of annealing from a chart


def anneal_molecule(
    config: Config, molecule: Molecule, evaluators: Evaluators, display: Display
) -> Annealed:
    """Anneal from the force field's bonds and angles and every well of the torsions."""
    chart = build_force_field_chart(molecule)
    annealed = _anneal_from_chart(chart, config, evaluators, config.seed, display)
    annealed = _add_family_error(annealed, chart, config.annealing.snapshots)
    display.say(_summary(annealed))
    return annealed


def as_exploration(annealed: Annealed, evaluations: int) -> Exploration:
    """Give an annealing the form of an exploration: one walker per island."""
    return Exploration(
        frames=annealed.x,
        u=annealed.u,
        grad_u=annealed.grad_u,
        replica=annealed.island,
        temperatures=1.0 / annealed.temperatures,
        exchange_acceptance=annealed.acceptance,
        evaluations=evaluations,
        restarts=0,
    )


def anneal_density(config: Config, dim: int, evaluators: Evaluators, display: Display) -> Annealed:
    """Anneal from a Gaussian, then from the chart of its samples, if that is no Gaussian.

    A chart has modes, and widths that depend on other coordinates. Its base extends beyond the
    samples of the Gaussian, such as into the neck of a funnel, and its samples have no common
    ancestors. The loop goes on as long as the number of temperatures falls.
    """
    settings = config.annealing
    annealed = anneal(
        evaluators, dim, settings.particles, config.seed, settings.moves, display.advance
    )
    display.say(_summary(annealed))
    if config.flow.coordinates != "flat":
        return annealed
    for again in range(1, _MOST_ROUNDS + 1):
        chart = fit_flat_chart(annealed.x, annealed.grad_u)
        if chart.is_gaussian:
            return annealed
        try:
            better = _anneal_from_chart(chart, config, evaluators, config.seed + again, display)
        except RunawayError:
            return annealed
        display.say(f"from its own chart: {_summary(better)}")
        previous, current = len(annealed.temperatures), len(better.temperatures)
        annealed = better if current <= previous else annealed
        if current == 1 or current >= previous:
            return annealed
    return annealed


def _anneal_from_chart(
    chart: Chart, config: Config, evaluators: Evaluators, seed: int, display: Display
) -> Annealed:
    """Anneal in the coordinates of a chart, from its base; the result is in x."""
    settings = config.annealing
    annealed = anneal_from(
        ChartBase(chart),
        ChartEnergy(chart, evaluators),
        settings.particles,
        seed,
        settings.moves,
        settings.snapshots if config.target.kind == "molecule" else 1,
        display.advance,
    )
    with torch.no_grad():
        x = chart.to_x(torch.from_numpy(annealed.x))[0].numpy()
    u, grad_u = evaluators.evaluate(x)
    return dataclasses.replace(annealed, x=x, u=u, grad_u=fill_gradients(grad_u))


def _add_family_error(annealed: Annealed, chart: ForceFieldChart, snapshots: int) -> Annealed:
    """Take the larger of two errors of log Z: by islands, and by families in wells."""
    last = torch.from_numpy(annealed.x[snapshots - 1 :: snapshots])
    angles = chart.coordinates.from_cartesian(last)[0][:, chart.circle]
    error = family_error(annealed.founder[::snapshots], find_wells(angles).numpy())
    return dataclasses.replace(annealed, d_log_z=max(annealed.d_log_z, error))


def build_force_field_chart(molecule: Molecule) -> ForceFieldChart:
    """Build the chart of a molecule before any simulation."""
    coordinates, terms = build_internal_coordinates(molecule), read_bonded_terms(molecule)
    q, _ = coordinates.from_cartesian(torch.from_numpy(molecule.positions)[None])
    profiles = {turn.bond: turn.energy / molecule.kT for turn in molecule.torsions}
    return ForceFieldChart(
        coordinates,
        q,
        find_molecule_isomers(molecule),
        terms.bonds,
        terms.angles,
        terms.stiff,
        profiles,
    )


def _summary(annealed: Annealed) -> str:
    log_z = f"{annealed.log_z:.3f} +- {annealed.d_log_z:.3f}"
    return (
        f"annealing: {len(annealed.temperatures)} temperatures, MALA accepted "
        f"{100 * annealed.acceptance.mean():.0f} %, log Z = {log_z}"
    )
