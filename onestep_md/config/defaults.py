"""Defaults that depend on the rest of the file, with the words that `--schema` prints.

Constant defaults stand beside their keys.
"""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from onestep_md.config.types import PARTICLES

KINDS = ("molecule", "density", "python")
COORDINATES = ("internal", "flat", "cartesian")
SAMPLES = 10_000  # default number for every K but 1
FEWEST_SAMPLES = 10  # that can be asked for
FEWEST_PARTICLES = 512  # of a bridge: 16 islands of 32
BRIDGE_MOVES = 4  # of a bridge, by MALA at every temperature
SNAPSHOTS = 5  # of an annealed population; an unused key may have its default
_HOT = 1000.0  # K, where torsions turn freely
_REPLICAS = 6
_MANY = 10  # a rare region has a hundredth of the samples


@dataclass(frozen=True)
class Facts:
    """Values of other keys that defaults depend on, given or defaults themselves."""

    kind: str = "molecule"  # of the target
    name: str | None = None  # of a benchmark density
    ligand: bool = False  # whether a molecule is given as target.smiles or target.file
    temperature: float | None = None  # of a molecule, in K
    coordinates: str = "internal"
    base: str | None = None  # of a molecule in cartesian coordinates
    method: str = "buffer"  # of training
    explored: str | None = None  # method of exploration, if it is given
    n: int = SAMPLES
    regions: bool = False  # whether there are any
    certain: bool = True  # whether kind and coordinates are right as written

    @property
    def molecule(self) -> bool:
        """Whether the target is a molecule."""
        return self.kind == "molecule"

    @property
    def cartesian(self) -> bool:
        """Whether networks are equivariant."""
        return self.coordinates == "cartesian"


@dataclass(frozen=True)
class Default:
    """A default in words, and as a function of the facts."""

    words: str
    of: Callable[[Facts], Any]


class When(NamedTuple):
    """A case of a default in words, and the condition for it."""

    words: str
    holds: Callable[[Facts], bool]


MOLECULES = When("for molecules", lambda facts: facts.molecule)
LIGANDS = When("for target.smiles and target.file", lambda facts: facts.ligand)
DENSITIES = When("for densities", lambda facts: not facts.molecule)
PARTICLE_DENSITIES = When(
    f"for densities of particles ({', '.join(PARTICLES)})", lambda facts: facts.name in PARTICLES
)
INTERNAL = When(
    "for molecules in internal coordinates", lambda facts: facts.molecule and not facts.cartesian
)
ATOMS = When(
    "for molecules in cartesian coordinates", lambda facts: facts.molecule and facts.cartesian
)
PARTICLES_IN_SPACE = When(
    "for particles in cartesian coordinates", lambda facts: not facts.molecule and facts.cartesian
)
FLAT = When("in flat coordinates", lambda facts: facts.coordinates == "flat")
CARTESIAN = When("in cartesian coordinates", lambda facts: facts.cartesian)
INTERNAL_BUFFER = When(
    f"for train.method: buffer {INTERNAL.words}",
    lambda facts: INTERNAL.holds(facts) and facts.method == "buffer",
)
CARTESIAN_BUFFER = When(
    "for train.method: buffer in cartesian coordinates",
    lambda facts: facts.cartesian and facts.method == "buffer",
)
AUXILIARY = When(
    "where there are auxiliary coordinates",
    lambda facts: facts.cartesian and (facts.name in PARTICLES or facts.base == "gaussian"),
)
FROM_RUN = When("for exploration.method: run", lambda facts: facts.explored == "run")
OTHERWISE = When("otherwise", lambda facts: True)


def depends(*cases: tuple[When, Any]) -> Default:
    """A default with several cases; the first that holds counts."""
    words = [f"{_shown(value)} {when.words}" for when, value in cases if value is not None]
    return Default(
        ", ".join(words), lambda facts: next(value for when, value in cases if when.holds(facts))
    )


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_shown, value))}]"
    return value if isinstance(value, str) else f"{value:g}"


def _ladder(facts: Facts) -> tuple[float, ...]:
    lowest = facts.temperature
    if lowest is None:
        return ()
    ratio = max(_HOT / lowest, 2.0)
    rungs = (round(lowest * ratio ** (i / (_REPLICAS - 1)), 2) for i in range(1, _REPLICAS))
    return (lowest, *rungs)


LADDER = Default(
    f"{_REPLICAS} in geometric progression to {_HOT:g} K (to twice the target's if that is more)",
    _ladder,
)
ONE_STEP_SAMPLES = Default(
    f"{_MANY} times n if there are regions and coordinates are internal, where 100,000 take some "
    "seconds; n otherwise",
    lambda facts: _MANY * facts.n if facts.regions and not facts.cartesian else facts.n,
)
COORDINATES_OF_TARGET = depends(
    (MOLECULES, "internal"), (PARTICLE_DENSITIES, "cartesian"), (OTHERWISE, "flat")
)
METHOD_OF_EXPLORATION = depends((INTERNAL, "dynamics"), (OTHERWISE, "annealing"))


def facts_of(values: Mapping[str, Any]) -> Facts:
    """Collect the facts of a file; wrong values count as left out."""

    def get(section: str, key: str) -> Any:
        keys = values.get(section)
        return keys.get(key) if isinstance(keys, Mapping) else None

    kind, name, temperature = (get("target", key) for key in ("kind", "name", "temperature"))
    hot = type(temperature) in (int, float) and temperature > 0
    bare = Facts(
        kind=kind if kind in KINDS else "molecule",
        name=name if isinstance(name, str) else None,
        ligand=bool(get("target", "smiles") or get("target", "file")),
        temperature=float(temperature) if hot else None,
        base=get("flow", "base"),
        method=get("train", "method") or "buffer",
        explored=get("exploration", "method"),
        n=get("sample", "n") or SAMPLES,
        regions=bool(values.get("regions")),
    )
    coordinates = get("flow", "coordinates")
    certain = kind in (None, *KINDS) and coordinates in (None, *COORDINATES)
    if coordinates not in COORDINATES:
        coordinates = COORDINATES_OF_TARGET.of(bare)
    return dataclasses.replace(bare, coordinates=coordinates, certain=certain)
