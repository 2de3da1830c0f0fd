"""The sections `exploration`, `flow`, `cluster` and `sample`: keys, types, defaults, meanings.

`targets` and `training` have the others.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, create_model

from onestep_md.config import types
from onestep_md.config.defaults import (
    ATOMS,
    AUXILIARY,
    BRIDGE_MOVES,
    CARTESIAN,
    COORDINATES_OF_TARGET,
    FEWEST_PARTICLES,
    FEWEST_SAMPLES,
    FROM_RUN,
    INTERNAL,
    LADDER,
    METHOD_OF_EXPLORATION,
    ONE_STEP_SAMPLES,
    OTHERWISE,
    PARTICLES_IN_SPACE,
    SAMPLES,
    SNAPSHOTS,
    depends,
)
from onestep_md.config.section import Choice, Section

# bins of splines where they are needed; each step then takes several times as long
SPLINE_BINS = 32


class Dynamics(Section):
    """Replica-exchange molecular dynamics."""

    method: Literal["dynamics"] = "dynamics"
    temperatures: Annotated[types.Temperatures, LADDER] = Field(
        description="Temperature of each replica of a molecule, rising from target.temperature."
    )
    duration: Annotated[types.Picoseconds, depends((INTERNAL, 2000.0), (OTHERWISE, 500.0))] = (
        Field(gt=0, description="Simulated time of each replica, equilibration included.")
    )
    equilibration: types.Picoseconds = Field(
        20.0, ge=0, description="Start of each replica that is discarded."
    )
    timestep: types.Femtoseconds = Field(
        2.0, gt=0, le=5, description="Time step; hydrogens are made heavier (3 Da) to allow it."
    )
    exchange_interval: types.Picoseconds = Field(
        0.2, gt=0, description="Time between attempts to swap neighbouring replicas."
    )
    frame_interval: types.Picoseconds = Field(
        0.1, gt=0, description="Time between stored conformations."
    )
    friction: types.PerPicosecond = Field(
        1.0, gt=0, description="Coupling of the Langevin dynamics to its heat bath."
    )


Particles = Annotated[
    types.Whole,
    depends((FROM_RUN, 2000), (OTHERWISE, 20_000)),
    Field(ge=100, description="Samples of the annealed sequential Monte Carlo."),
]
Moves = Annotated[
    types.Whole,
    depends((FROM_RUN, BRIDGE_MOVES), (OTHERWISE, 8)),
    Field(ge=1, description="MALA moves of every particle at every temperature."),
]


class Annealing(Section):
    """Sequential Monte Carlo from the energy alone."""

    method: Literal["annealing"] = "annealing"
    particles: Particles
    moves: Moves
    snapshots: types.Whole = Field(
        SNAPSHOTS,
        ge=1,
        description="How often the annealed population of a molecule is stored, with moves in "
        "between: its stiff coordinates need more samples than its torsions.",
    )


class _FromRun(Section):
    """Sequential Monte Carlo from the flow of another run; see `FromRun` for its folder."""

    method: Literal["run"] = "run"
    particles: Particles
    moves: Moves

    @property
    def folder(self) -> Path:
        """Run folder of the flow."""
        return Path(getattr(self, "from"))


if TYPE_CHECKING:
    FromRun = _FromRun
else:  # `from` is a word of Python, so that no line of a class can name the key
    _FROM = Field(
        description="Run folder of the flow that a run starts from, of the same atoms with "
        "another force field, solvent or temperature, or of a density with as many coordinates; "
        "the path starts where the command is run.",
    )
    FromRun = create_model(
        "FromRun", __base__=_FromRun, __module__=__name__, **{"from": (str, _FROM)}
    )


class FromTrajectory(Section):
    """Frames of the user's own simulation."""

    method: Literal["trajectory"] = "trajectory"
    files: types.Files = Field(
        description="Trajectories of the molecule alone, in its atom order: DCD, XTC, TRR, NetCDF "
        "or H5; paths start at the folder of the YAML file. Energies are evaluated again.",
    )
    temperature: types.Kelvin | None = Field(
        None,
        gt=0,
        description="Temperature of the frames, which are then reweighted. Default: that of the "
        "target.",
    )
    weights: str | None = Field(
        None,
        description="NumPy file (npy) with a weight of every frame, for frames of another "
        "ensemble, such as metadynamics; the path starts at the folder of the YAML file.",
    )


Exploration = Annotated[
    Dynamics | Annealing | FromRun | FromTrajectory,
    Field(discriminator="method"),
    Choice(
        "method",
        METHOD_OF_EXPLORATION,
        "dynamics: replica exchange of a molecule. annealing: sequential Monte Carlo; a molecule "
        "then starts from its force field's own bonds and angles and uniform torsions, a density "
        "from a Gaussian that is found, and then again from its chart. run: annealing from the "
        "flow of another run to this target, and training from its weights. trajectory: frames of "
        "a simulation of your own. Densities have no dynamics and no trajectories.",
    ),
]


class Flow(Section):
    """The flow that maps noise to samples of the target."""

    coordinates: Annotated[Literal["internal", "flat", "cartesian"], COORDINATES_OF_TARGET] = (
        Field(
            description="Input of the flow's networks. internal: bonds, angles and torsions of a "
            "molecule. flat: whitened coordinates of a density. cartesian: positions, read by an "
            "equivariant network, which turns and stretches the bonds of a molecule of given atom "
            "types, and moves particles.",
        )
    )
    network: Annotated[
        Literal["egnn", "e3nn"] | None, depends((CARTESIAN, "egnn"), (OTHERWISE, None))
    ] = Field(
        description="Equivariant network of flow.coordinates: cartesian. egnn: messages made "
        "of distances. e3nn: tensor products of spherical harmonics, in three dimensions only; "
        "slower.",
    )
    # None is no part of a sampler's identity, since older runs lack the key
    base: Literal["molecule", "gaussian"] | None = Field(
        None,
        description="Base of a molecule in flow.coordinates: cartesian. molecule: bonds, angles "
        "and torsions of the exploration, which only have to be coupled. gaussian: Gaussian "
        "positions of the atoms, which the flow moves; much harder to learn. Default: molecule.",
    )
    layers: Annotated[
        types.Whole, depends((ATOMS, 6), (PARTICLES_IN_SPACE, 10), (OTHERWISE, 8))
    ] = Field(
        ge=1,
        le=64,
        description="Coupling layers in one step; more is slower and finer.",
    )
    width: Annotated[
        types.Whole, depends((ATOMS, 32), (PARTICLES_IN_SPACE, 48), (OTHERWISE, 96))
    ] = Field(
        ge=8,
        le=4096,
        description="Hidden units of the network in every layer.",
    )
    orders: types.Whole = Field(
        4,
        ge=1,
        le=16,
        description="Moebius maps per torsion and layer; more resolve more.",
    )
    # None: the exploration decides
    bins: types.Whole | None = Field(
        None,
        ge=0,
        le=64,
        description="Spline bins per line coordinate and layer, for several modes on one line; "
        "0: affine maps only, as suits the stiff coordinates of molecules. Default: "
        f"{SPLINE_BINS} where the exploration of a density in flat coordinates shows modes that "
        "depend on each other, otherwise 0.",
    )


class Cluster(Section):
    """Energy evaluators (Ray actors), learners and their devices."""

    learners: types.Whole = Field(
        1,
        ge=1,
        description="Processes that train together, each on a part of every batch and with a part "
        "of the evaluators. One is this process; more need Ray Train and a run folder that all "
        "their machines can read and write.",
    )
    evaluators: types.AutoCount = Field(
        "auto",
        description="Number of energy evaluators; auto: one per CPU that Ray has, more when "
        "machines join. A number asks an autoscaler for machines; auto takes those there are.",
    )
    platform: Literal["auto", "Reference", "CPU", "CUDA", "torch", "torch-CUDA"] = Field(
        "auto",
        description="What computes energies: a platform of OpenMM, or torch, which computes them "
        "in batches in double precision, on a CPU or with CUDA, and leaves dynamics to OpenMM's "
        "CPU platform. auto times Reference, CPU and torch, and keeps the fastest.",
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto",
        description="Where learners compute the network; auto: a GPU if there is one for each.",
    )
    learner_threads: types.AutoCount = Field(
        "auto",
        description="Threads of a learner; auto: half of its cores, all of them with --local.",
    )
    patience: types.Seconds = Field(
        600.0, gt=0, description="How long to wait without any living evaluator before giving up."
    )


class Sample(Section):
    """Samples that are drawn from the trained flow."""

    n: types.Whole = Field(
        SAMPLES, ge=FEWEST_SAMPLES, description="Samples drawn for every number of steps K but 1."
    )
    n_one_step: Annotated[types.Whole, ONE_STEP_SAMPLES] = Field(
        ge=FEWEST_SAMPLES,
        description="Samples drawn for K = 1: they are exported and give the free energies of "
        "regions.",
    )
    steps: types.StepCounts = Field(
        (0, 1, 2, 4, 8),
        description="Numbers of flow steps K that are compared, 0 (the base alone) or powers of "
        "two. The exported samples are those of K = 1.",
    )
    auxiliaries: Annotated[types.Whole, depends((AUXILIARY, 8), (OTHERWISE, 1))] = Field(
        ge=1,
        description="Draws of auxiliary coordinates behind a weight of particles, or of atoms "
        "from flow.base: gaussian; each costs as much as a sample, and more bring the weights "
        "nearer to those of the positions alone.",
    )
    refine: types.Whole = Field(
        0,
        ge=0,
        description="Particles that are annealed from the flow to its own target after the "
        "results, for samples of equal weight and a log Z with the error of islands; 0: none, "
        f"otherwise {FEWEST_PARTICLES} or more.",
    )
    torsions: types.Torsions = Field(
        "auto",
        description="Torsions of a molecule to report. auto: phi and psi of every residue, called "
        "phi and psi, or phi_2, psi_2, ... by residue number if there are several; of a molecule "
        "without these every rotatable torsion, called by its atoms, C1-C2-O3-C4, and the "
        "torsions of rings that change their shape; turns of methyl groups only where nothing "
        "else turns. Otherwise names with four atoms each, a 0-based index or RESNAME:RESID:ATOM "
        "such as ALA:2:CA.",
    )

    def count(self, steps: int) -> int:
        """Return the number of samples for one number of steps."""
        return self.n_one_step if steps == 1 else self.n
