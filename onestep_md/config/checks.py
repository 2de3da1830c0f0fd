"""Mistakes in a configuration that involve several keys, each of a right type.

A key that is itself wrong is absent, so the other checks still run and all mistakes are reported
together.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath

from onestep_md.config.defaults import FEWEST_PARTICLES, SNAPSHOTS
from onestep_md.config.forms import check_form, main_file
from onestep_md.config.source import Key, dotted
from onestep_md.config.types import PARTICLES, suggest

# names of torsions that `auto` may find: phi_2, or C1-C2-O3-C4
_AUTO = re.compile(r"(phi|psi)(_-?\d+)?|[^-]+(-[^-]+){3}")
_NOUNS = {"molecule": "a molecule", "density": "a density", "python": "a python density"}


def inconsistencies(values: Mapping[str, Mapping]) -> Iterator[tuple[Key, str]]:
    """Yield key and message of every mistake.

    Args:
        values: section -> key -> value with defaults; wrong keys are absent.
    """
    target, exploration = values.get("target", {}), values.get("exploration", {})
    torsions, regions = values.get("sample", {}).get("torsions"), values.get("regions")
    yield from check_form(target)
    yield from _check_temperatures(exploration.get("temperatures", ()), target.get("temperature"))
    yield from _check_times(exploration)
    yield from _check_learners(values.get("train", {}), values.get("cluster", {}))
    yield from _check_start(exploration, values.get("train", {}))
    yield from _check_refining(values.get("sample", {}))
    if "kind" not in target:
        return
    yield from _check_exploration(target, exploration)
    yield from _check_coordinates(target, values.get("flow", {}))
    yield from _check_auxiliaries(target, values.get("flow", {}), values.get("sample", {}))
    if target["kind"] != "molecule":
        yield from _check_no_torsions(_NOUNS[target["kind"]], regions, torsions)
    elif torsions is not None and isinstance(regions, Mapping):
        yield from _check_regions(regions, torsions)


def mistakes_of_several(
    values: Sequence[Mapping[str, Mapping]],
) -> Iterator[tuple[Key, str]]:
    """Yield key and message of every mistake in a list of targets; `values` are those of each."""
    key = ("target",)
    if len(values) < 2:
        yield key, f"target is a list of {len(values)}; take two molecules or more, or no list."
        return
    targets = [each.get("target", {}) for each in values]
    if any(target.get("kind", "molecule") != "molecule" for target in targets):
        yield key, "target is a list; only molecules can be trained together."
        return
    if any(target.get("smiles") for target in targets):
        message = (
            "target is a list; results go by the names of files, and target.smiles has none: "
        )
        yield key, message + "give target.file, an SDF or MOL2."
        return
    names = [PurePath(file).stem for target in targets if (file := main_file(target))]
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
    if first.get("exploration", {}).get("method") == "run":
        message = "target is a list; a run that starts from another one has one target."
        yield ("exploration", "method"), message
    if first.get("cluster", {}).get("learners", 1) != 1:
        yield ("cluster", "learners"), "target is a list; it is trained by one learner."


def _check_coordinates(target: Mapping, flow: Mapping) -> Iterator[tuple[Key, str]]:
    kind, name = target["kind"], target.get("name")
    if "coordinates" not in flow or (kind == "density" and name is None):
        return
    wanted, network = flow["coordinates"], flow.get("network")
    known = ", ".join(PARTICLES)
    if kind == "molecule":
        fits, reason = wanted != "flat", "a molecule has internal and cartesian ones"
    elif wanted == "internal":
        fits, reason = False, f"{_NOUNS[kind]} has no bonds"
    else:
        fits = wanted != "cartesian" or name in PARTICLES
        reason = f"they are for molecules and for densities of particles: {known}"
    if not fits:
        message = f"flow.coordinates = {wanted} do not fit this target; {reason}."
        yield ("flow", "coordinates"), message
        return
    cartesian = wanted == "cartesian"
    if network is not None and not cartesian:
        message = "flow.network needs flow.coordinates: cartesian, for molecules and densities of"
        yield ("flow", "network"), f"{message} particles ({known}); remove it."
    elif network == "e3nn" and PARTICLES.get(name or "") == 2:
        message = f"flow.network = e3nn works in three dimensions, and {name} has two; use egnn."
        yield ("flow", "network"), message
    if flow.get("base") is not None and not (cartesian and kind == "molecule"):
        message = "flow.base has no effect but on a molecule in flow.coordinates: cartesian; "
        yield ("flow", "base"), message + "remove it."
    if cartesian and flow.get("bins") is not None:
        message = "flow.bins has no effect on flow.coordinates: cartesian; remove it."
        yield ("flow", "bins"), message


def _check_auxiliaries(
    target: Mapping, flow: Mapping, sample: Mapping
) -> Iterator[tuple[Key, str]]:
    if (sample.get("auxiliaries") or 1) == 1:
        return
    kind, name = target["kind"], target.get("name")
    if kind == "molecule":
        has_some = flow.get("base") == "gaussian"
    elif kind == "density" and name is None:
        return
    else:
        has_some = name in PARTICLES and flow.get("coordinates") != "flat"
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
    for key in ("batch", "regression_batch", "buffer"):
        value = train.get(key, learners)
        # the buffer is drawn as a whole where it is the smaller one
        drawn = key != "buffer" or value < train.get("regression_batch", 0)
        if drawn and value % learners:
            message = f"train.{key} = {value} cannot be shared by {learners} learners; "
            yield ("train", key), message + f"take a multiple of {learners} (cluster.learners)."
    evaluators = cluster.get("evaluators", "auto")
    if evaluators != "auto" and evaluators < learners:
        message = f"cluster.evaluators = {evaluators} are too few for {learners} learners, each of"
        yield ("cluster", "evaluators"), message + " which needs one (cluster.learners)."


def _check_start(exploration: Mapping, train: Mapping) -> Iterator[tuple[Key, str]]:
    method = train.get("method", "buffer")
    if exploration.get("method") == "run" and method != "buffer":
        message = f"train.method = {method} learns from no run; exploration.method: run needs "
        yield ("train", "method"), message + "train.method: buffer."


def _check_refining(sample: Mapping) -> Iterator[tuple[Key, str]]:
    particles = sample.get("refine", 0)
    if 0 < particles < FEWEST_PARTICLES:
        message = f"sample.refine = {particles} particles are too few; take {FEWEST_PARTICLES} or "
        yield ("sample", "refine"), message + "more, or 0 for none."


def _check_no_torsions(
    noun: str, regions: object, torsions: str | Mapping | None
) -> Iterator[tuple[Key, str]]:
    if isinstance(regions, Mapping) and regions:
        yield ("regions",), f"regions are ranges of torsions, and {noun} has none; remove them."
    if torsions not in (None, "auto"):
        message = f"sample.torsions has no effect: {noun} has no torsions; remove it."
        yield ("sample", "torsions"), message


def _check_exploration(target: Mapping, exploration: Mapping) -> Iterator[tuple[Key, str]]:
    if target["kind"] == "molecule":
        return
    if exploration.get("method") in ("dynamics", "trajectory"):
        message = f"exploration.method = {exploration['method']} needs a molecule; remove it."
        yield ("exploration", "method"), message
    if exploration.get("snapshots", SNAPSHOTS) != SNAPSHOTS:
        noun = _NOUNS[target["kind"]]
        message = f"exploration.snapshots has no effect on {noun}; remove it."
        yield ("exploration", "snapshots"), message


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
            if torsions == "auto" and not _AUTO.fullmatch(name):
                yield (
                    key,
                    f"{dotted(key)}: no torsion `{name}`. With sample.torsions = auto there are "
                    "phi and psi, or phi_2, psi_2, ..., and without these torsions such as "
                    "C1-C2-O3-C4; name any other under sample.torsions.",
                )
            elif torsions != "auto" and name not in torsions:
                known = ", ".join(torsions) or "none"
                hint = suggest(name, list(torsions)) or f". Known: {known}."
                yield key, f"{dotted(key)}: no torsion `{name}` in sample.torsions{hint}"
