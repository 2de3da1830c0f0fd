"""Mistakes in a configuration that involve several keys, found on already validated values.

Plain functions on plain values: a key that is itself wrong is simply absent, so the other checks
still run and all mistakes are reported together. Called by `config`.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import NamedTuple

from onestep_md.config.defaults import default_exploration
from onestep_md.config.sections import Exploration, Target
from onestep_md.config.source import Key, dotted
from onestep_md.config.types import PARTICLES, suggest


class Kind(NamedTuple):
    """The keys of `target` that go with one value of target.kind."""

    noun: str
    required: tuple[str, ...]
    optional: tuple[str, ...] = ()

    @property
    def keys(self) -> tuple[str, ...]:
        """All keys that mean something, beside `kind`."""
        return self.required + self.optional


TARGETS = {
    "molecule": Kind(
        "a molecule",
        ("pdb", "temperature"),
        ("forcefield", "system", "constraints", "held", "trust"),
    ),
    "density": Kind("a density", ("name",), ("data",)),
    "python": Kind("a python density", ("function", "dim"), ("trust",)),
}
_EXPLORATION = {
    "dynamics": (
        "temperatures", "duration", "equilibration", "timestep", "exchange_interval",
        "frame_interval", "friction",
    ),
    "annealing": ("particles", "moves", "snapshots"),
}  # fmt: skip


def inconsistencies(values: Mapping[str, Mapping]) -> Iterator[tuple[Key, str]]:
    """Key and message of every mistake.

    Args:
        values: section -> key -> value, defaults filled in; what is wrong by itself is absent.
    """
    target, exploration = values.get("target", {}), values.get("exploration", {})
    torsions, regions = values.get("sample", {}).get("torsions"), values.get("regions")
    if "kind" in target:
        yield from _check_kind(target)
    yield from _check_temperatures(exploration.get("temperatures", ()), target.get("temperature"))
    yield from _check_times(exploration)
    yield from _check_exploration(target, exploration, values.get("flow", {}))
    yield from _check_teacher(values.get("train", {}))
    yield from _check_learners(values.get("train", {}), values.get("cluster", {}))
    yield from _check_coordinates(target, values.get("flow", {}))
    yield from _check_auxiliaries(target, values.get("flow", {}), values.get("sample", {}))
    if target.get("kind", "molecule") != "molecule":
        yield from _check_no_torsions(TARGETS[target["kind"]].noun, regions, torsions)
    elif torsions is not None and isinstance(regions, Mapping):
        yield from _check_regions(regions, torsions)


def mistakes_of_several(
    values: Sequence[Mapping[str, Mapping]],
) -> Iterator[tuple[Key, str]]:
    """Key and message of every mistake of a list of targets; `values` as above, of each."""
    key = ("target",)
    if len(values) < 2:
        yield key, f"target is a list of {len(values)}; take two molecules or more, or no list."
        return
    targets = [each.get("target", {}) for each in values]
    if any(target.get("kind", "molecule") != "molecule" for target in targets):
        yield key, "target is a list; only molecules can be trained together."
        return
    names = [PurePath(target["pdb"]).stem for target in targets if target.get("pdb")]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield key, f"target is a list with two files {name}.pdb; results go by their names."
    first = values[0]
    if first.get("flow", {}).get("coordinates") != "cartesian":
        message = "target is a list; one network for several molecules needs flow.coordinates: "
        yield key, message + "cartesian."
    if first.get("flow", {}).get("base") == "gaussian":
        message = "target is a list; from flow.base: gaussian a network learns one molecule; "
        yield ("flow", "base"), message + "use flow.base: molecule."
    if first.get("train", {}).get("method", "buffer") != "buffer":
        yield ("train", "method"), "target is a list; it needs train.method: buffer."
    if first.get("cluster", {}).get("learners", 1) != 1:
        yield ("cluster", "learners"), "target is a list; it is trained by one learner."


def _check_kind(target: Mapping) -> Iterator[tuple[Key, str]]:
    name, kind, keys = target["kind"], TARGETS[target["kind"]], Target.model_fields
    given = [key for key in keys if target.get(key) not in (None, keys[key].default, name)]
    meaningless = [key for key in given if key not in kind.keys]
    wrong = [key for key in kind.keys if key not in target]  # given as well, reported before
    if meaningless and meaningless == given and not wrong:
        # nothing fits the kind, so the kind itself is the mistake, most likely left out
        home = next(other for other in TARGETS if given[0] in TARGETS[other].keys)
        message = f"target.{given[0]} needs target.kind: {home}; the kind here is {name}."
        yield ("target", given[0]), message
        return
    for key in meaningless:
        yield ("target", key), f"target.{key} has no effect on {kind.noun}; remove it."
    for key in kind.required:
        if key in target and target[key] is None:
            yield ("target", key), f"target.{key} is missing. {keys[key].description}"
    if name == "molecule" and "forcefield" in target and "system" in target:
        yield from _check_source_of_energies(target)


def _check_teacher(train: Mapping) -> Iterator[tuple[Key, str]]:
    if "method" not in train or "teacher" not in train:
        return
    method, teacher = train["method"], train["teacher"]
    if method == "cdds" and teacher is None:
        message = 'train.method = "cdds" needs train.teacher, the run folder of a trained sampler.'
        yield ("train", "method"), message
    if method != "cdds" and teacher is not None:
        message = f'train.teacher has no effect on train.method = "{method}"; remove it.'
        yield ("train", "teacher"), message
    if method != "buffer" and train.get("pretraining"):
        message = f'train.pretraining has no effect on train.method = "{method}"; remove it.'
        yield ("train", "pretraining"), message
    if method == "buffer" and train.get("grid", "angle") != "angle":
        message = 'train.grid has no effect on train.method = "buffer"; remove it.'
        yield ("train", "grid"), message


def _check_coordinates(target: Mapping, flow: Mapping) -> Iterator[tuple[Key, str]]:
    kind, name = target.get("kind", "molecule"), target.get("name")
    wanted, network = flow.get("coordinates"), flow.get("network")
    known = ", ".join(PARTICLES)
    if kind == "molecule":
        fits, reason = wanted != "flat", "a molecule has internal and cartesian ones"
    elif wanted == "internal":
        fits, reason = False, f"{TARGETS[kind].noun} has no bonds"
    else:
        fits = wanted != "cartesian" or _may_be_particles(target)
        reason = f"they are for molecules and for densities of particles: {known}"
    if not fits:
        message = f"flow.coordinates = {wanted} do not fit this target; {reason}."
        yield ("flow", "coordinates"), message
        return
    cartesian = wanted == "cartesian" or (wanted is None and name in PARTICLES)
    if network is not None and not cartesian and ("name" in target or kind == "molecule"):
        message = "flow.network needs flow.coordinates: cartesian, for molecules and densities of"
        yield ("flow", "network"), f"{message} particles ({known}); remove it."
    elif network == "e3nn" and PARTICLES.get(name) == 2:
        message = f"flow.network = e3nn works in three dimensions, and {name} has two; use egnn."
        yield ("flow", "network"), message
    if flow.get("base") is not None and not (cartesian and kind == "molecule"):
        message = "flow.base has no effect but on a molecule in flow.coordinates: cartesian; "
        yield ("flow", "base"), message + "remove it."
    if cartesian and flow.get("bins") is not None:
        message = "flow.bins has no effect on flow.coordinates: cartesian; remove it."
        yield ("flow", "bins"), message


def _may_be_particles(target: Mapping) -> bool:
    """Whether a density is one of particles; a name that is itself wrong is absent."""
    name = target.get("name")
    return name in PARTICLES or (target.get("kind") == "density" and name is None)


def _check_auxiliaries(
    target: Mapping, flow: Mapping, sample: Mapping
) -> Iterator[tuple[Key, str]]:
    if (sample.get("auxiliaries") or 1) == 1:
        return
    if target.get("kind", "molecule") == "molecule":
        has_some = flow.get("base") == "gaussian"
    else:
        has_some = _may_be_particles(target) and flow.get("coordinates") != "flat"
    if not has_some:
        message = "sample.auxiliaries has no effect: only particles in cartesian coordinates, and "
        message += "molecules of flow.base: gaussian, have auxiliary ones; remove it."
        yield ("sample", "auxiliaries"), message


def _check_learners(train: Mapping, cluster: Mapping) -> Iterator[tuple[Key, str]]:
    learners = cluster.get("learners", 1)
    if learners == 1:
        return
    if train.get("method", "buffer") != "buffer":
        message = f"cluster.learners = {learners} needs train.method: buffer; use one learner."
        yield ("cluster", "learners"), message
    # what is left out gets a default that is a multiple of this
    size = {key: train.get(key) or 64 for key in ("batch", "regression_batch", "buffer")}
    for key, value in size.items():
        # the buffer is drawn as a whole where it is the smaller one
        drawn = key != "buffer" or value < size["regression_batch"]
        if drawn and value % learners:
            given = train.get(key) or "its default"
            message = f"train.{key} = {given} cannot be shared by {learners} learners; "
            yield ("train", key), message + f"take a multiple of {learners} (cluster.learners)."
    evaluators = cluster.get("evaluators", "auto")
    if evaluators != "auto" and evaluators < learners:
        message = f"cluster.evaluators = {evaluators} are too few for {learners} learners, each of"
        yield ("cluster", "evaluators"), message + " which needs one (cluster.learners)."


def _check_no_torsions(
    noun: str, regions: object, torsions: str | Mapping | None
) -> Iterator[tuple[Key, str]]:
    if isinstance(regions, Mapping) and regions:
        yield ("regions",), f"regions are ranges of torsions, and {noun} has none; remove them."
    if torsions not in (None, "auto"):
        message = f"sample.torsions has no effect: {noun} has no torsions; remove it."
        yield ("sample", "torsions"), message


def _check_exploration(
    target: Mapping, exploration: Mapping, flow: Mapping
) -> Iterator[tuple[Key, str]]:
    if "kind" not in target or "method" not in exploration:
        return
    kind, method = target["kind"], exploration["method"]
    if kind != "molecule" and method == "dynamics":
        message = "exploration.method = dynamics needs a molecule; remove it."
        yield ("exploration", "method"), message
    if kind != "molecule":
        for key in _given(exploration, (*_EXPLORATION["dynamics"], "snapshots")):
            message = f"exploration.{key} has no effect on {TARGETS[kind].noun}; remove it."
            yield ("exploration", key), message
        return
    # one that is given stands beside keys of both, so that --set may choose the other
    if method is not None or "coordinates" not in flow:
        return
    method = default_exploration(kind, flow["coordinates"] == "cartesian")
    (other,) = _EXPLORATION.keys() - {method}
    for key in _given(exploration, _EXPLORATION[other]):
        message = f"exploration.{key} has no effect on {method}, the default here; remove it, or "
        yield ("exploration", key), message + f"set exploration.method: {other}."


def _given(exploration: Mapping, keys: Sequence[str]) -> list[str]:
    """Those that are not at their defaults."""
    defaults = {key: Exploration.model_fields[key].default for key in keys}
    return [key for key in keys if exploration.get(key, defaults[key]) != defaults[key]]


def _check_times(exploration: Mapping[str, float]) -> Iterator[tuple[Key, str]]:
    for shorter, longer in (
        ("timestep", "frame_interval"),
        ("frame_interval", "exchange_interval"),
        ("exchange_interval", "duration"),
        ("equilibration", "duration"),
    ):
        if shorter in exploration and longer in exploration:
            unit, ps = ("fs", 1e-3) if shorter == "timestep" else ("ps", 1.0)
            short, long = exploration[shorter], exploration[longer]
            if short * ps > long or (shorter == "equilibration" and short == long):
                yield (
                    ("exploration", shorter),
                    f"exploration.{shorter} = {short:g} {unit} is too long for "
                    f"exploration.{longer} = {long:g} ps.",
                )


def _check_source_of_energies(target: Mapping) -> Iterator[tuple[Key, str]]:
    forcefield, system = target["forcefield"], target["system"]
    if forcefield and system:
        message = "target.forcefield and target.system are both given; keep one of them."
        yield ("target", "system"), message
    if not forcefield and not system:
        yield (
            ("target", "forcefield"),
            "target.forcefield is missing. Give force-field files such as "
            "[amber99sbildn.xml, amber99_obc.xml], or target.system.",
        )
    if system and not forcefield and target.get("constraints") == "hbonds":
        message = 'target.constraints = "hbonds" has no effect on target.system; remove it.'
        yield ("target", "constraints"), message


def _check_temperatures(
    ladder: Sequence[float], target: float | None
) -> Iterator[tuple[Key, str]]:
    key = ("exploration", "temperatures")
    if len(ladder) == 1:
        yield key, f"exploration.temperatures = [{ladder[0]:g}], must have at least 2 entries."
    if ladder and target is not None and ladder[0] != target:
        yield (
            (*key, 0),
            f"exploration.temperatures[0] = {ladder[0]:g} K, must equal target.temperature = "
            f"{target:g} K.",
        )
    for i in range(1, len(ladder)):
        if ladder[i] <= ladder[i - 1]:
            message = f"= {ladder[i]:g} K, must be more than the {ladder[i - 1]:g} K before it."
            yield (*key, i), f"{dotted((*key, i))} {message}"


def _check_regions(
    regions: Mapping[str, Mapping], torsions: str | Mapping
) -> Iterator[tuple[Key, str]]:
    for region, ranges in regions.items():
        for name in ranges if isinstance(ranges, Mapping) else ():
            key = ("regions", region, name)
            if torsions == "auto" and not re.fullmatch(r"(phi|psi)(_-?\d+)?", name):
                yield (
                    key,
                    f"{dotted(key)}: no torsion `{name}`. With sample.torsions = auto there are "
                    "phi and psi, or phi_2, psi_2, ...; name any other under sample.torsions.",
                )
            elif torsions != "auto" and name not in torsions:
                known = ", ".join(torsions) or "none"
                hint = suggest(name, list(torsions)) or f". Known: {known}."
                yield key, f"{dotted(key)}: no torsion `{name}` in sample.torsions{hint}"
