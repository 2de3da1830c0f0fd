"""One molecule as the target of a run."""

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from onestep_md.analysis.frames import read_frame_weights, read_frames
from onestep_md.analysis.topology import read_topology
from onestep_md.analysis.torsions import region_membership, torsion_angles
from onestep_md.analysis.trajectories import (
    ROUNDED,
    Trajectory,
    make_trajectory,
    write_trajectory,
)
from onestep_md.config import Config
from onestep_md.coordinates.base import Chart
from onestep_md.coordinates.chart import MolecularChart
from onestep_md.coordinates.molecule import build_internal_coordinates, find_molecule_isomers
from onestep_md.coordinates.positions import PositionChart
from onestep_md.coordinates.ring_chart import fit_chart
from onestep_md.coordinates.stereo import find_equivalent_atoms, find_tetrahedral_centres
from onestep_md.distributed.pool import EvaluatorFactory, Evaluators
from onestep_md.errors import TargetError
from onestep_md.exploration.explored import Exploration
from onestep_md.exploration.from_dynamics import explore_molecule
from onestep_md.exploration.from_energy import (
    anneal_molecule,
    as_exploration,
    build_force_field_chart,
)
from onestep_md.exploration.from_trajectory import explore_frames
from onestep_md.files import write_text
from onestep_md.flow.base import Flow
from onestep_md.flow.equivariant import EquivariantFlow
from onestep_md.flow.molecular import MolecularFlow
from onestep_md.flow.networks.topology import UNIT, Topology
from onestep_md.kinds.coordinates import new_step_flow
from onestep_md.progress import Display
from onestep_md.results.conformations import ring_warnings
from onestep_md.results.molecule import write_molecule_results
from onestep_md.results.structure import write_structure
from onestep_md.results.torsions import reported_torsions
from onestep_md.sampling.draw import Samples
from onestep_md.sampling.model import Model
from onestep_md.sampling.target import Target
from onestep_md.targets.energy_terms import hill_formula, net_charge, split_energy
from onestep_md.targets.molecule import Fingerprint, Molecule, load_molecule
from onestep_md.targets.platforms import make_evaluator, time_platforms
from onestep_md.targets.sources.residue_stereo import find_hand

_SAME_LENGTH = 1e-6  # nm, of constraints
_WHOLE_CHARGE = 0.01  # e; files round charges


def load_molecule_target(config: Config) -> "MoleculeTarget":
    """Read a molecule, and try out its torsions and regions before anything expensive starts.

    Raises:
        ConfigError: a torsion or a region names what does not exist.
        TargetError: the molecule cannot be made; the message says where and what to do.
    """
    molecule = load_molecule(config.molecule, config.folder, config.molecule.trust)
    if config.flow.base == "gaussian" and molecule.constraints:
        raise TargetError(
            "flow.base: gaussian moves every atom, and this molecule has "
            f"{len(molecule.constraints)} bonds of fixed length. Use target.constraints: none, or "
            "flow.base: molecule."
        )
    torsions = reported_torsions(config, molecule)
    angles = torsion_angles(molecule.positions[None], list(torsions.values()))
    region_membership(angles, list(torsions), config.regions)
    return MoleculeTarget(molecule)


@dataclass(frozen=True)
class MoleculeTarget:
    """A molecule, by the protocol of `sampling.target.Target`."""

    molecule: Molecule

    @property
    def fingerprint(self) -> Fingerprint:
        return self.molecule.fingerprint

    @property
    def elements(self) -> tuple[str, ...]:
        return self.molecule.elements

    @property
    def known_log_z(self) -> None:
        return None

    def describe(self) -> list[str]:
        line = f"{'isomers':<14}{find_molecule_isomers(self.molecule).line()}"
        return [*self.fingerprint.lines(), line]

    def check_energy(self, platform: str | None) -> list[str]:
        choice = time_platforms(self.molecule)
        platform = platform or choice.name
        x = self.molecule.positions[None]
        u, grad_u = make_evaluator(self.molecule, platform).evaluate(x)
        return [
            *describe_composition(self.molecule),
            *describe_alpha_carbons(self.molecule),
            f"energy of the input geometry: u = {u[0]:.3f} kT on {platform}",
            *describe_terms(self.molecule),
            f"largest force: {np.abs(grad_u).max():.1f} kT/nm",
            f"platform: {choice}",
        ]

    def fastest_platform(self) -> str:
        return time_platforms(self.molecule).name

    def factory(self, platform: str) -> EvaluatorFactory:
        return functools.partial(make_evaluator, self.molecule, platform)

    def explore(self, config: Config, evaluators: Evaluators, display: Display) -> Exploration:
        if config.exploration.method == "dynamics":
            return explore_molecule(config, self.molecule, evaluators, display)
        if config.exploration.method == "trajectory":
            return self._explore_trajectory(config, evaluators, display)
        before = evaluators.evaluations
        annealing = anneal_molecule(config, self.molecule, evaluators, display)
        return as_exploration(annealing, evaluators.evaluations - before)

    def _explore_trajectory(
        self, config: Config, evaluators: Evaluators, display: Display
    ) -> Exploration:
        settings = config.from_trajectory
        files = [config.folder / name for name in settings.files]
        frames, walkers = read_frames(files, self.molecule.pdb_text)
        log_weights = np.zeros(len(frames))
        if settings.weights:
            log_weights = read_frame_weights(config.folder / settings.weights, len(frames))
        return explore_frames(
            self.molecule,
            frames,
            walkers,
            log_weights,
            settings.temperature or self.molecule.temperature,
            evaluators,
            config.seed,
            display,
        )

    def exploration_warnings(self, config: Config, exploration: Exploration) -> list[str]:
        if config.exploration.method == "trajectory":
            rounded = [name for name in config.from_trajectory.files if name.endswith(".xtc")]
            more = "EUBO and BAR, which these frames give, are off by some of that"
            return [f"{name}: {ROUNDED}; {more}. Others do not round." for name in rounded]
        if config.exploration.method != "dynamics":
            return []
        return ring_warnings(self.molecule, exploration.frames)

    def rough_samples(self, n: int, seed: int) -> np.ndarray:
        chart = build_force_field_chart(self.molecule)
        with torch.no_grad():
            return chart.to_x(chart.sample_base(n, torch.Generator().manual_seed(seed)))[0].numpy()

    def new_chart(self, config: Config, x: np.ndarray, grad_u: np.ndarray) -> Chart:
        molecule, frames = self.molecule, torch.from_numpy(x)
        if config.flow.base == "gaussian":
            centres = find_tetrahedral_centres(
                molecule.elements, molecule.bonds, molecule.positions
            )
            coordinates = build_internal_coordinates(molecule, centres)
            equivalent = find_equivalent_atoms(molecule.elements, molecule.bonds)
            return PositionChart.fit(frames, coordinates, molecule.bonds, equivalent)
        coordinates = build_internal_coordinates(molecule)
        q, _ = coordinates.from_cartesian(frames)
        # networks that read positions know no labels
        cartesian = config.flow.coordinates == "cartesian"
        return fit_chart(
            coordinates, q, () if cartesian else find_molecule_isomers(molecule).rings
        )

    def new_flow(self, config: Config, chart: Chart) -> Flow:
        if config.flow.coordinates != "cartesian":
            return new_step_flow(config, chart)
        layers, width, network = config.flow.layers, config.flow.width, config.flow.network
        assert network is not None  # every Cartesian flow has one
        topology = Topology(self.molecule.elements, self.molecule.bonds)
        if isinstance(chart, PositionChart):
            spread = chart.spread / UNIT
            return EquivariantFlow(spread, chart.space, layers, width, network, topology)
        assert isinstance(chart, MolecularChart)
        orders = config.flow.orders
        return MolecularFlow(chart, topology, layers, width, orders, network, config.seed)

    def check_same_configurations(self, other: Target) -> None:
        if not isinstance(other, MoleculeTarget):
            raise TargetError("it is no molecule, as the target of the run is.")
        difference = describe_difference(self.molecule, other.molecule)
        if difference:
            raise TargetError(difference)

    def keep(self, folder: Path) -> None:
        write_text(folder / "input.pdb", self.molecule.pdb_text)
        write_text(folder / "system.xml", self.molecule.system_xml)
        write_structure(folder, self.molecule)

    def write_results(
        self,
        config: Config,
        model: Model,
        evaluators: Evaluators,
        folder: Path,
        display: Display,
        exploration_seconds: float,
    ) -> None:
        write_molecule_results(
            config, self.molecule, model, evaluators, folder, display, exploration_seconds
        )

    def region_membership(self, config: Config, x: np.ndarray) -> np.ndarray:
        torsions = reported_torsions(config, self.molecule)
        angles = torsion_angles(x, list(torsions.values()))
        return region_membership(angles, list(torsions), config.regions)

    def trajectory(self, x: np.ndarray) -> Trajectory:
        return make_trajectory(x, self.molecule.pdb_text)

    def write_samples(self, folder: Path, samples: Samples, seed: int) -> None:
        write_trajectory(
            folder,
            self.molecule.pdb_text,
            samples.x,
            samples.log_w,
            samples.u,
            samples.log_q,
            np.random.default_rng(seed),
        )


def describe_composition(molecule: Molecule) -> list[str]:
    """Describe what a molecule is made of and what turns, in lines for printing."""
    charge, turning = net_charge(molecule), find_molecule_isomers(molecule).turning
    said = "unknown" if charge is None else f"{charge:+.3f} e" if abs(charge) > 5e-4 else "0 e"
    if charge is not None and abs(charge - round(charge)) > _WHOLE_CHARGE:
        said += ", no whole number: check the charges"
    names = [f"{molecule.atom_names[i]}-{molecule.atom_names[j]}" for i, j in turning]
    noun = "bond" if len(names) == 1 else "bonds"
    return [
        f"{'formula':<14}{hill_formula(molecule.elements)}",
        f"{'net charge':<14}{said}",
        f"{'rotatable':<14}{len(names)} {noun}{': ' if names else ''}{', '.join(names)}",
    ]


def describe_alpha_carbons(molecule: Molecule) -> list[str]:
    """Describe which residues are L and which are D, in one line; none without such residues."""
    bonded = {frozenset(bond) for bond in molecule.bonds}
    hands: dict[str, list[str]] = {"L": [], "D": []}
    for residue in read_topology(molecule.pdb_text).residues:
        index = {atom.name: atom.index for atom in residue.atoms}
        hand = find_hand(index, molecule.positions)
        arms = [index[name] for name in ("N", "C", "CB") if name in index]
        if hand and all(frozenset((index["CA"], arm)) in bonded for arm in arms):
            hands[hand].append(f"{residue.name}:{residue.resSeq}")
    words = [f"{hand}: {', '.join(names)}" for hand, names in hands.items() if names]
    return [f"{'alpha carbons':<14}{'; '.join(words)}"] if words else []


def describe_terms(molecule: Molecule) -> list[str]:
    """Describe the energy of the input geometry by terms, in lines for printing."""
    terms = split_energy(molecule)
    rows = {**terms, "sum": sum(terms.values())}
    width = max(map(len, rows))
    return [f"  {name:<{width}} {energy:14.4f} kT" for name, energy in rows.items()]


def describe_difference(own: Molecule, other: Molecule) -> str:
    """Describe how the configurations of two molecules differ; empty if they are the same."""
    if len(own.elements) != len(other.elements):
        return (
            f"it has {len(other.elements)} atoms, and the molecule of the run {len(own.elements)}."
        )
    pairs = zip(own.atom_names, own.elements, other.atom_names, other.elements, strict=True)
    for i, (name, element, other_name, other_element) in enumerate(pairs, start=1):
        if (name, element) != (other_name, other_element):
            return (
                f"atom {i} is {other_name} ({other_element}), and in the run {name} ({element}). "
                "Atoms, their names and their order must be those of RUN/input.pdb."
            )
    bonds, other_bonds = ({frozenset(bond) for bond in m.bonds} for m in (own, other))
    if bonds != other_bonds:
        i, j = sorted(next(iter(bonds ^ other_bonds)))
        have = "lacks" if frozenset((i, j)) in bonds else "has"
        return f"it {have} a bond {own.atom_names[i]}-{own.atom_names[j]}, unlike the run."
    lengths, other_lengths = (
        {frozenset((i, j)): length for i, j, length in m.constraints} for m in (own, other)
    )
    if lengths.keys() != other_lengths.keys() or any(
        abs(length - other_lengths[bond]) > _SAME_LENGTH for bond, length in lengths.items()
    ):
        return (
            f"it has {len(other_lengths)} bonds of fixed length, and the run {len(lengths)}, or "
            "others: the integrals differ in what they run over. Give target.constraints as in "
            "the run."
        )
    domains = [(m.centres, m.held_bonds, m.cis) for m in map(find_molecule_isomers, (own, other))]
    if domains[0] != domains[1]:
        return (
            "its input is another isomer, or it holds other bonds cis or trans (target.held): the "
            "integrals run over other parts of space. Use RUN/input.pdb and the held of the run."
        )
    return ""
