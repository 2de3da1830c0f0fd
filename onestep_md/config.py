"""The configuration: every key of the YAML file with its type, unit, default and meaning.

`load_config` reads a file, applies `--set`, and either returns a frozen `Config` or raises one
ConfigError that lists every mistake with its place. Nothing heavy is imported here, so a typing
error costs a fraction of a second. The models are the one documentation of the schema;
`python -m onestep_md.run --schema` prints them through `schema_text`.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic.fields import FieldInfo

from onestep_md import config_types as types
from onestep_md.config_checks import inconsistencies
from onestep_md.config_schema import is_section, schema_lines
from onestep_md.config_source import Key, Source, dotted, to_yaml
from onestep_md.config_types import closest, explain, suggest, words_of


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Target(_Section):
    """The molecule, its energy function and its temperature."""

    kind: Literal["molecule"] = Field(
        "molecule", description="A single molecule, in vacuum or implicit solvent."
    )
    pdb: str = Field(
        description="PDB file of one molecule with all its hydrogens; the path starts at the "
        "folder of the YAML file. Its atom order is the order of all output."
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
    temperature: types.Kelvin = Field(
        gt=0, description="Temperature of the Boltzmann distribution that is sampled."
    )


class Exploration(_Section):
    """Replica-exchange molecular dynamics that finds the conformations to learn from."""

    temperatures: types.Temperatures = Field(
        (),
        description="Temperature of each replica, rising from target.temperature. Default: six "
        "in geometric progression to 1000 K (to twice the target's if that is more).",
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


class Flow(_Section):
    """The network that carries noise to conformations."""

    layers: types.Whole = Field(
        8, ge=1, le=64, description="Coupling layers in one step; more is slower and finer."
    )
    width: types.Whole = Field(
        96, ge=8, le=4096, description="Hidden units of the network in every layer."
    )
    orders: types.Whole = Field(
        4,
        ge=1,
        le=16,
        description="Moebius maps per torsion and layer; more resolve more.",
    )
    bins: types.Whole = Field(
        0,
        ge=0,
        le=64,
        description="Spline bins per line coordinate and layer, for several modes on one line; "
        "0: affine maps only, as suits the stiff coordinates of molecules.",
    )


class Train(_Section):
    """Training, with energies evaluated meanwhile."""

    steps: types.Whole = Field(1800, ge=1, description="Optimizer steps.")
    batch: types.Whole = Field(
        1024, ge=1, description="Flow samples, and so energy evaluations, per step."
    )
    learning_rate: types.Number = Field(
        1e-3, gt=0, le=1, description="Peak learning rate of Adam."
    )
    regression_batch: types.Whole = Field(
        256, ge=1, description="Buffer configurations per step, for flow matching and consistency."
    )
    likelihood_weight: types.Number = Field(
        0.1, ge=0, description="Weight of the likelihood of buffer configurations."
    )
    flow_weight: types.Number = Field(
        0.01, ge=0, description="Weight of flow matching, the smallest step on the buffer."
    )
    state_weight: types.Number = Field(
        0.1, ge=0, description="Weight of state consistency, one step against two half steps."
    )
    volume_weight: types.Number = Field(
        0.02, ge=0, description="Weight of volume consistency, see train.volume_loss."
    )
    volume_loss: Literal["logdet", "tangent"] = Field(
        "logdet",
        description="How a big step learns to change volume like two half steps: logdet compares "
        "the log-determinants as published, tangent one random tangent vector.",
    )
    buffer: types.Whole = Field(
        50_000, ge=1, description="Conformations kept to learn from; fresh ones replace old ones."
    )
    checkpoint_interval: types.Seconds = Field(
        60.0, gt=0, description="Time between checkpoints; a crash loses no more than this."
    )


class Cluster(_Section):
    """Who computes: energy evaluators (Ray actors) and the learner."""

    evaluators: types.AutoCount = Field(
        "auto", description="Number of energy evaluators; auto: what the free cores allow."
    )
    platform: Literal["auto", "Reference", "CPU", "CUDA"] = Field(
        "auto", description="OpenMM platform; auto times Reference and CPU, and keeps the faster."
    )
    learner_threads: types.AutoCount = Field(
        "auto", description="Threads of the learner; auto: the cores that evaluators leave."
    )
    patience: types.Seconds = Field(
        600.0, gt=0, description="How long to wait without any living evaluator before giving up."
    )


class Sample(_Section):
    """What is drawn from the trained flow and looked at."""

    n: types.Whole = Field(10_000, ge=10, description="Samples drawn for every number of steps.")
    steps: types.StepCounts = Field(
        (0, 1, 2, 4, 8),
        description="Numbers of flow steps K that are compared, 0 (the base alone) or powers of "
        "two. The exported samples are those of K = 1.",
    )
    torsions: types.Torsions = Field(
        "auto",
        description="Torsions that are reported. auto: phi and psi of every residue, called phi "
        "and psi, or phi_2, psi_2, ... by residue number if there are several. Otherwise names "
        "with four atoms each, a 0-based index or RESNAME:RESID:ATOM such as ALA:2:CA.",
    )


class Config(_Section):
    """All keys of one run."""

    target: Target
    exploration: Exploration = Exploration()
    flow: Flow = Flow()
    train: Train = Train()
    cluster: Cluster = Cluster()
    sample: Sample = Sample()
    regions: types.Regions = Field(
        {},
        description="Conformational regions whose free energies are compared, each a box of "
        "torsion ranges within -180..180 or 0..360; a range with low > high wraps around.",
    )
    seed: types.Whole = Field(
        1, ge=0, lt=2**31, description="Seed of every random number of the run."
    )
    _folder: Path = PrivateAttr(default=Path())

    @property
    def folder(self) -> Path:
        """Folder of the YAML file, where relative paths start."""
        return self._folder

    def region_ranges(self) -> dict[str, dict[str, tuple[float, float]]]:
        """Region -> torsion -> (low, high) in degrees."""
        return {region: dict(ranges) for region, ranges in self.regions.items()}

    @model_validator(mode="after")
    def _complete(self) -> Self:
        values = {name: dict(v) if isinstance(v, BaseModel) else v for name, v in self}
        for _, message in inconsistencies(values):
            raise ValueError(message)
        if not self.exploration.temperatures:
            ladder = _default_temperatures(self.target.temperature)
            exploration = self.exploration.model_copy(update={"temperatures": ladder})
            object.__setattr__(self, "exploration", exploration)  # frozen only from here on
        return self


def _default_temperatures(lowest: float, n: int = 6) -> tuple[float, ...]:
    ratio = max(1000.0 / lowest, 2.0)
    return (lowest, *(round(lowest * ratio ** (i / (n - 1)), 2) for i in range(1, n)))


def load_config(path: Path, overrides: Sequence[str] = (), seed: int | None = None) -> Config:
    """Read and validate a YAML file.

    Args:
        path: the file.
        overrides: options such as "train.steps=200", applied in order.
        seed: replaces the seed of the file.

    Raises:
        ConfigError: all mistakes at once, one per line, each as `file:line: message` or, for a
            value given on the command line, `--set key: message`.
    """
    source = Source(Path(path))
    for option in overrides:
        source.override(option)
    if seed is not None:
        source.replace(("seed",), seed, "--seed")
    values = _check(source, Config, (), source.data)
    # the names in regions can be checked even where a range is wrong
    for key, message in inconsistencies({"regions": source.data.get("regions"), **values}):
        source.mistake(key, message)
    source.raise_mistakes()
    config = Config.model_validate(values)
    config._folder = source.path.parent
    return config


def config_text(config: Config) -> str:
    """The resolved configuration as YAML that `load_config` reads back."""
    return to_yaml(config.model_dump(mode="json", exclude_none=True))


def schema_text() -> str:
    """Every key with type, default, unit and meaning, laid out like the YAML file itself."""
    return "\n".join(schema_lines(Config))


def _check(source: Source, model: type[BaseModel], parent: Key, data: Mapping) -> dict:
    """Validated values of one section; what is wrong is noted in `source` and left out.

    Key by key rather than by `model.model_validate`, so that one mistake hides no other.
    """
    unknown = [name for name in data if name not in model.model_fields]
    for name in unknown:
        source.mistake((*parent, name), _unknown(name, model, parent))
    meant = {closest(name, list(model.model_fields)) for name in unknown}
    values: dict[str, object] = {}
    for name, field in model.model_fields.items():
        key, raw = (*parent, name), data.get(name)
        if raw is None and name in meant:
            continue  # it is there, misspelt; that it is missing would be a second message
        if is_section(field):
            if isinstance(raw, dict | None):
                values[name] = _check(source, field.annotation, key, raw or {})
            else:
                message = f"`{name}` must be a section with `key: value` lines, not {_show(raw)}."
                source.mistake(key, message)
        elif raw is not None:
            _check_value(source, field, key, raw, values)
        elif field.is_required():
            source.mistake(key, f"{dotted(key)} is missing. {field.description}")
        else:
            values[name] = field.default  # a key without a value is a key left out
    return values


def _check_value(source: Source, field: FieldInfo, key: Key, raw: object, values: dict) -> None:
    adapter = TypeAdapter(Annotated[field.annotation, field])
    try:
        values[key[-1]] = adapter.validate_python(raw)
    except ValidationError as failure:
        for error in failure.errors():
            # `<auto>` and `<named>` are the branches of a union, not keys
            inner = tuple(part for part in error["loc"] if not str(part).startswith("<"))
            unit = words_of(field.annotation, field.metadata).unit
            sentence = f"{dotted(key + inner)} = {_show(error['input'])}, {explain(error, unit)}"
            source.mistake(key + inner, sentence if sentence.endswith("?") else sentence + ".")


def _unknown(name: str, model: type[BaseModel], parent: Key) -> str:
    where = f"in `{dotted(parent)}`" if parent else "at the top level"
    known = list(model.model_fields)
    sections = {n: f.annotation.model_fields for n, f in Config.model_fields.items()
                if is_section(f)}  # fmt: skip
    homes = [section for section, fields in sections.items() if name in fields]
    if homes:
        hint = f". It belongs to {' or '.join(f'`{home}`' for home in homes)}."
    elif name in Config.model_fields:
        hint = ". It belongs to the top level."
    else:
        hint = suggest(name, known) or f". Known keys: {', '.join(known)}."
    return f"unknown key `{name}` {where}{hint}"


def _show(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else text[:57] + "..."
