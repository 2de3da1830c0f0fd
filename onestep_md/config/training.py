"""The section `train`: from a buffer of samples, or along simulated paths."""

from typing import Annotated, Literal

from pydantic import Field

from onestep_md.config import types
from onestep_md.config.defaults import (
    ATOMS,
    CARTESIAN,
    CARTESIAN_BUFFER,
    DENSITIES,
    FLAT,
    INTERNAL,
    INTERNAL_BUFFER,
    MOLECULES,
    OTHERWISE,
    depends,
)
from onestep_md.config.section import Choice, Section

VolumeWeight = Annotated[
    types.Number,
    depends((CARTESIAN_BUFFER, 0.0), (INTERNAL_BUFFER, 0.0), (OTHERWISE, 0.02)),
    Field(
        ge=0,
        description="Weight of volume consistency, see train.volume_loss and train.flow_weight.",
    ),
]
VolumeLoss = Annotated[
    Literal["logdet", "tangent"],
    Field(
        description="How a big step learns to change volume like two half steps: logdet compares "
        "the log-determinants as published, tangent one random tangent vector.",
    ),
]


class _Training(Section):
    """Keys of every method.

    Equivariant networks are expensive, and learn best and cheapest by the likelihood of many
    independent samples.
    """

    steps: Annotated[
        types.Whole,
        depends((CARTESIAN_BUFFER, 60), (ATOMS, 1200), (OTHERWISE, 2000)),
    ] = Field(ge=1, description="Optimizer steps, after train.pretraining.")
    batch: Annotated[types.Whole, depends((INTERNAL, 1024), (OTHERWISE, 512))] = Field(
        ge=1,
        description="Flow samples, and so energy evaluations, per step; moves of the buffer's "
        "chains come on top.",
    )
    learning_rate: Annotated[
        types.Number, depends((CARTESIAN, 2.5e-4), (INTERNAL, 6e-3), (OTHERWISE, 1e-3))
    ] = Field(
        gt=0,
        le=1,
        description="Peak learning rate of Adam, and an eighth of that of Muon, which networks in "
        "cartesian coordinates have; less is taken where the base is nearly exact. In cartesian "
        "coordinates some runs diverge at 7e-4.",
    )
    regression_batch: Annotated[
        types.Whole, depends((ATOMS, 64), (INTERNAL_BUFFER, 2048), (OTHERWISE, 512))
    ] = Field(
        ge=1,
        description="Configurations of the buffer, or of simulated paths, that are learned from "
        "per step. Those of the buffer move; of a multiple of train.batch, as many as that.",
    )
    state_weight: Annotated[
        types.Number, depends((CARTESIAN_BUFFER, 0.0), (INTERNAL_BUFFER, 0.0), (OTHERWISE, 0.1))
    ] = Field(
        ge=0,
        description="Weight of state consistency, one step against two half steps, see "
        "train.flow_weight.",
    )
    # where a part of a density was missed, few chains find it faster than many
    buffer: Annotated[
        types.Whole, depends((ATOMS, 2048), (MOLECULES, 8192), (DENSITIES, 1024))
    ] = Field(
        ge=1,
        description="Configurations to learn from: Markov chains that move as the flow learns; "
        "fewer move more often.",
    )
    checkpoint_interval: types.Seconds = Field(
        60.0, gt=0, description="Time between checkpoints; a crash loses no more than this."
    )


class BufferTraining(_Training):
    """From the explored samples, which move as Markov chains, and energies of flow samples."""

    method: Literal["buffer"] = "buffer"
    # of K = 1, 2, 4, 8 among the batches
    step_shares: Annotated[
        types.StepShares,
        depends(
            (ATOMS, (8.0, 1.0, 1.0, 0.0)),
            (FLAT, (1.0, 1.0, 1.0, 1.0)),
            (INTERNAL, (20.0, 2.0, 1.0, 1.0)),
            (OTHERWISE, (2.0, 1.0, 1.0, 1.0)),
        ),
    ] = Field(
        description="Relative numbers of batches that train the maps of K = 1, 2, 4 and 8 steps; "
        "a batch of K costs K times as much. [1, 0, 0, 0] is fastest, for one step alone.",
    )
    pretraining: Annotated[types.Whole, depends((CARTESIAN, 3000), (OTHERWISE, 0))] = Field(
        ge=0,
        description="Steps before train.steps on the likelihood of explored samples alone, much "
        "cheaper; for many independent samples, as those of an annealing. The learning rate is "
        "four times as high; three quarters of them train K = 1, the others follow "
        "train.step_shares.",
    )
    likelihood_weight: Annotated[types.Number, depends((ATOMS, 0.1), (OTHERWISE, 1.0))] = Field(
        ge=0, description="Weight of the likelihood of buffer configurations."
    )
    energy_weight: types.Number = Field(
        1.0,
        ge=0,
        description="Weight of the energies of flow samples, by their path gradient. 0 leaves it "
        "out: then the buffer alone teaches.",
    )
    flow_weight: Annotated[
        types.Number, depends((CARTESIAN, 0.0), (INTERNAL, 0.0), (OTHERWISE, 0.01))
    ] = Field(
        ge=0,
        description="Weight of flow matching, the smallest step on the buffer. In cartesian "
        "coordinates flow matching and consistency take half of the time, and one step gains "
        "nothing by them; nor does it in atenolol, of eleven rotatable torsions.",
    )
    volume_weight: VolumeWeight
    volume_loss: VolumeLoss = "logdet"


class _PathTraining(_Training):
    """Keys of methods that simulate paths."""

    grid: Literal["angle", "brownian"] = Field(
        "angle",
        description="Times of the 32 steps of a simulated path. angle: equal steps of flow time, "
        "a sampler like DIS and DDS, arXiv 2211.01364. brownian: equal steps of the time of a "
        "Brownian motion from a point, like PIS, arXiv 2111.15141; for teachers: near t = 1 no "
        "small step is learned. cdds: as its teacher has it.",
    )


class OsdsTraining(_PathTraining):
    """From the energy along simulated paths, arXiv 2512.05251."""

    method: Literal["osds"] = "osds"
    volume_weight: VolumeWeight
    volume_loss: VolumeLoss = "logdet"


class ScdsTraining(_PathTraining):
    """From the energy along simulated paths, arXiv 2502.07579; volume is not learned."""

    method: Literal["scds"] = "scds"


class CddsTraining(_PathTraining):
    """From a trained sampler."""

    method: Literal["cdds"] = "cdds"
    teacher: str = Field(
        description="Run folder of the pretrained sampler that is distilled; the path starts "
        "where the command is run.",
    )
    volume_weight: VolumeWeight
    volume_loss: VolumeLoss = "logdet"


PathTraining = OsdsTraining | ScdsTraining | CddsTraining
Train = Annotated[
    BufferTraining | OsdsTraining | ScdsTraining | CddsTraining,
    Field(discriminator="method"),
    Choice(
        "method",
        "buffer",
        "buffer: learn from the explored samples, which move as Markov chains, and from the "
        "energies of flow samples. osds, scds: from the energy along simulated paths, arXiv "
        "2512.05251 and 2502.07579. cdds: distil the pretrained sampler of train.teacher.",
    ),
]
