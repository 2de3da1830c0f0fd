"""The sections of the YAML file: every key with its type, unit, default and meaning.

`config` puts them together and checks them.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from onestep_md.config import types


class Section(BaseModel):
    """Unknown keys are refused, and nothing changes once it is read."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Target(Section):
    """What is sampled: a molecule at a temperature, or a density; `kind` says which keys apply."""

    kind: Literal["molecule", "density", "python"] = Field(
        "molecule",
        description="molecule: a single molecule, in vacuum or implicit solvent. density: a "
        "benchmark density, by its name. python: an unnormalised density of your own.",
    )
    pdb: str | None = Field(
        None,
        description="PDB file of one molecule with all its hydrogens; the path starts at the "
        "folder of the YAML file. Its atom order is the order of all output.",
    )
    forcefield: types.Files | None = Field(
        None,
        description="Force-field XML files by their OpenMM names, implicit solvent included, or "
        "paths from the folder of the YAML file. Give either this or target.system.",
    )
    system: str | None = Field(
        None,
        description="Serialized OpenMM System (XML) that fits the PDB, for any other force "
        "field; the path starts at the folder of the YAML file.",
    )
    constraints: Literal["none", "hbonds"] = Field(
        "none",
        description="Bonds of fixed length: none, or all bonds to hydrogen. Only with "
        "target.forcefield.",
    )
    trust: types.Truth = Field(
        False,
        description="Whether Python code that files of others bring with them may run here: a "
        "PythonForce or a plug-in's force in target.system, scripts in target.forcefield, the "
        "function of the run folder train.teacher. Refused otherwise.",
    )
    temperature: types.Kelvin | None = Field(
        None, gt=0, description="Temperature of the Boltzmann distribution that is sampled."
    )
    held: Literal["none", "amides", "conjugated"] = Field(
        "amides",
        description="Bonds of a molecule that stay cis or trans as in the PDB, besides double "
        "bonds and stereocentres, which always stay as they are: none; amides; or conjugated: "
        "amides and single bonds between planar atoms that a barrier of more than 30 kJ/mol keeps "
        "planar, as in acids, esters, enones and dienes. What is not held is sampled in all of "
        "its wells.",
    )
    name: types.Density | None = Field(
        None, description=f"The benchmark density: {', '.join(types.DENSITIES)}."
    )
    data: str | None = Field(
        None,
        description="Data file of a benchmark density, for those made of data that are not "
        "shipped; the path starts at the folder of the YAML file.",
    )
    function: types.Function | None = Field(
        None,
        description="Python function of x (batch, dim) that returns the log density (batch,), in "
        "torch; its module is looked for in the folder of the YAML file first. Any change of the "
        "code in it, or in modules of the same folder that it imports, makes another target, but "
        "for comments, docstrings and layout.",
    )
    dim: types.Whole | None = Field(
        None, ge=1, description="Number of coordinates that target.function takes."
    )


class Exploration(Section):
    """How the samples to learn from are found.

    dynamics: replica-exchange molecular dynamics, the keys from temperatures to friction.
    annealing: sequential Monte Carlo from the energy alone, the keys particles, moves and
    snapshots.
    """

    method: Literal["dynamics", "annealing"] | None = Field(
        None,
        description="dynamics, or annealing: a molecule then starts from its force field's own "
        "bonds and angles and uniform torsions, a density from a Gaussian that is found, and then "
        "again from its chart. Default: dynamics for molecules in internal coordinates; densities "
        "have annealing only.",
    )
    temperatures: types.Temperatures = Field(
        (),
        description="Temperature of each replica of a molecule, rising from target.temperature. "
        "Default: six in geometric progression to 1000 K (to twice the target's if that is "
        "more).",
    )
    duration: types.Picoseconds = Field(
        500.0, gt=0, description="Simulated time of each replica, equilibration included."
    )
    equilibration: types.Picoseconds = Field(
        20.0, ge=0, description="Start of each replica that is thrown away."
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
    particles: types.Whole = Field(
        20_000,
        ge=100,
        description="Samples of the annealed sequential Monte Carlo.",
    )
    moves: types.Whole = Field(
        8, ge=1, description="MALA moves of every particle at every temperature."
    )
    snapshots: types.Whole = Field(
        5,
        ge=1,
        description="Times that the annealed population of a molecule is kept, with moves between "
        "them: its stiff coordinates need more samples than its torsions.",
    )


class Flow(Section):
    """The network that carries noise to samples of the target."""

    coordinates: Literal["internal", "flat", "cartesian"] | None = Field(
        None,
        description="What the flow's networks read. internal: bonds, angles and torsions, for "
        "molecules. flat: the coordinates of a density, whitened. cartesian: positions, by an "
        "equivariant network; of molecules with their atom types and bonds, and it turns and "
        "stretches these; of particles, and it moves them. Default: internal for molecules, "
        f"cartesian for densities of particles ({', '.join(types.PARTICLES)}), flat for others.",
    )
    network: Literal["egnn", "e3nn"] | None = Field(
        None,
        description="Equivariant network of flow.coordinates: cartesian. egnn: messages that know "
        "distances. e3nn: tensor products of spherical harmonics, in three dimensions only; "
        "slower. Default: egnn.",
    )
    base: Literal["molecule", "gaussian"] | None = Field(
        None,
        description="What flow.coordinates: cartesian makes a molecule of. molecule: of one with "
        "the bonds, angles and torsions of the exploration, which only have to be coupled. "
        "gaussian: of atoms with Gaussian positions, which are moved themselves; much harder to "
        "learn. Default: molecule.",
    )
    layers: types.Whole | None = Field(
        None,
        ge=1,
        le=64,
        description="Coupling layers in one step; more is slower and finer. Default: 8; in "
        "cartesian coordinates 6 for molecules, 10 for particles.",
    )
    width: types.Whole | None = Field(
        None,
        ge=8,
        le=4096,
        description="Hidden units of the network in every layer. Default: 96; in cartesian "
        "coordinates 32 for molecules, 48 for particles.",
    )
    orders: types.Whole = Field(
        4,
        ge=1,
        le=16,
        description="Moebius maps per torsion and layer; more resolve more.",
    )
    bins: types.Whole | None = Field(
        None,
        ge=0,
        le=64,
        description="Spline bins per line coordinate and layer, for several modes on one line; "
        "0: affine maps only, as suits the stiff coordinates of molecules. Default: 32 where the "
        "exploration of a density in flat coordinates shows modes that depend on each other, "
        "otherwise 0.",
    )


class Train(Section):
    """Training, with energies evaluated meanwhile."""

    method: Literal["buffer", "osds", "scds", "cdds"] = Field(
        "buffer",
        description="buffer: learn from the explored samples, which move on as Markov chains, and "
        "from the energies of the flow's own. osds, scds: from the energy along simulated paths, "
        "arXiv 2512.05251 and 2502.07579. cdds: distil the pretrained sampler of train.teacher.",
    )
    teacher: str | None = Field(
        None,
        description="Run folder of the pretrained sampler, for train.method: cdds; the path "
        "starts where the command is run.",
    )
    grid: Literal["angle", "brownian"] = Field(
        "angle",
        description="Times of the 32 steps of a simulated path, for osds, scds and cdds. angle: "
        "equal steps of flow time, a sampler like DIS and DDS, arXiv 2211.01364. brownian: equal "
        "steps of the time of a Brownian motion from a point, like PIS, arXiv 2111.15141; for "
        "teachers: near t = 1 no small step is learned. cdds: as its teacher has it.",
    )
    steps: types.Whole | None = Field(
        None,
        ge=1,
        description="Optimizer steps. Default: 2000 for densities, 1200 for molecules, 60 in "
        "cartesian coordinates, after train.pretraining.",
    )
    step_shares: types.StepShares | None = Field(
        None,
        description="Shares of the batches of train.method: buffer that train the maps of K = 1, "
        "2, 4 and 8 steps; a batch of K costs K times as much. [1, 0, 0, 0] is fastest, for one "
        "step alone. Default: [1, 1, 1, 1] for densities in flat coordinates, [8, 1, 1, 0] for "
        "molecules in cartesian ones, otherwise [2, 1, 1, 1].",
    )
    pretraining: types.Whole | None = Field(
        None,
        ge=0,
        description="Steps before these on the likelihood of explored samples alone, each a "
        "fraction of the price; for many independent samples, as of an annealing. At four times "
        "the learning rate; three quarters of them train one step, the others train.step_shares. "
        "Default: 0; 3000 for train.method: buffer in cartesian coordinates.",
    )
    batch: types.Whole | None = Field(
        None,
        ge=1,
        description="Flow samples, and so energy evaluations, per step; moves of the buffer's "
        "chains come on top. Default: 1024 for molecules in internal coordinates, otherwise 512.",
    )
    learning_rate: types.Number | None = Field(
        None,
        gt=0,
        le=1,
        description="Peak learning rate of Adam, and an eighth of that of Muon, which networks in "
        "cartesian coordinates have; less is taken where the base is nearly exact. Default: "
        "1e-3; 2.5e-4 in cartesian coordinates, where some runs diverge at 7e-4.",
    )
    regression_batch: types.Whole | None = Field(
        None,
        ge=1,
        description="Configurations of the buffer that are learned from, and moved, per step. "
        "Default: 512 for densities, 256 for molecules, 64 for those in cartesian coordinates.",
    )
    likelihood_weight: types.Number | None = Field(
        None,
        ge=0,
        description="Weight of the likelihood of buffer configurations. Default: 1 for "
        "densities, 0.1 for molecules.",
    )
    flow_weight: types.Number | None = Field(
        None,
        ge=0,
        description="Weight of flow matching, the smallest step on the buffer. Default: 0.01; 0 "
        "for train.method: buffer in cartesian coordinates, where this and the next two take half "
        "of the time and one step gains nothing by them.",
    )
    state_weight: types.Number | None = Field(
        None,
        ge=0,
        description="Weight of state consistency, one step against two half steps. Default: 0.1, "
        "see train.flow_weight.",
    )
    volume_weight: types.Number | None = Field(
        None,
        ge=0,
        description="Weight of volume consistency, see train.volume_loss. Default: 0.02, see "
        "train.flow_weight.",
    )
    volume_loss: Literal["logdet", "tangent"] = Field(
        "logdet",
        description="How a big step learns to change volume like two half steps: logdet compares "
        "the log-determinants as published, tangent one random tangent vector.",
    )
    buffer: types.Whole | None = Field(
        None,
        ge=1,
        description="Configurations to learn from: chains that move as the flow learns, the fewer "
        "the faster. Default: 1024 for densities, 8192 for molecules, 2048 for those in cartesian "
        "coordinates.",
    )
    checkpoint_interval: types.Seconds = Field(
        60.0, gt=0, description="Time between checkpoints; a crash loses no more than this."
    )


class Cluster(Section):
    """Who computes: energy evaluators (Ray actors) and learners."""

    learners: types.Whole = Field(
        1,
        ge=1,
        description="Processes that train together, each on its share of every batch and with its "
        "own share of the evaluators. One is this process; more need Ray Train and a run folder "
        "that all their machines see.",
    )
    evaluators: types.AutoCount = Field(
        "auto",
        description="Number of energy evaluators; auto: one per CPU that Ray has, more when "
        "machines join. A number asks an autoscaler for machines; auto takes those there are.",
    )
    platform: Literal["auto", "Reference", "CPU", "CUDA"] = Field(
        "auto", description="OpenMM platform; auto times Reference and CPU, and keeps the faster."
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto",
        description="Where learners compute the network; auto: a GPU if there is one for each.",
    )
    learner_threads: types.AutoCount = Field(
        "auto",
        description="Threads of a learner; auto: half of the cores that fall to it, all of them "
        "with --local.",
    )
    patience: types.Seconds = Field(
        600.0, gt=0, description="How long to wait without any living evaluator before giving up."
    )


class Sample(Section):
    """What is drawn from the trained flow and looked at."""

    n: types.Whole = Field(
        10_000, ge=10, description="Samples drawn for every number of steps but one."
    )
    n_one_step: types.Whole | None = Field(
        None,
        ge=10,
        description="Samples drawn for K = 1, those that are exported and that the free energies "
        "of regions hang on. Default: ten times n if there are regions and coordinates are "
        "internal, where 100,000 take some seconds; n otherwise.",
    )
    steps: types.StepCounts = Field(
        (0, 1, 2, 4, 8),
        description="Numbers of flow steps K that are compared, 0 (the base alone) or powers of "
        "two. The exported samples are those of K = 1.",
    )
    auxiliaries: types.Whole | None = Field(
        None,
        ge=1,
        description="Draws of the auxiliary coordinates that a weight is made of, of particles "
        "and of atoms from flow.base: gaussian, each the price of a sample; more are nearer to "
        "the density of the positions alone. Default: 8; 1 where there are none.",
    )
    torsions: types.Torsions = Field(
        "auto",
        description="Torsions of a molecule to report. auto: phi and psi of every residue, called "
        "phi and psi, or phi_2, psi_2, ... by residue number if there are several. Otherwise "
        "names with four atoms each, a 0-based index or RESNAME:RESID:ATOM such as ALA:2:CA.",
    )

    def count(self, steps: int) -> int:
        """Samples drawn for one number of steps."""
        return self.n_one_step if steps == 1 else self.n
