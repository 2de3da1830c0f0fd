"""Read a YAML file into frozen `Config` objects.

`load_config` applies `--set`, and either returns a `Config` or raises one ConfigError that lists
every mistake with its place.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from onestep_md.config.checks import mistakes_of_several
from onestep_md.config.config import Config
from onestep_md.config.forms import main_file
from onestep_md.config.reading import resolved_values
from onestep_md.config.source import Source, to_yaml


def load_config(path: Path, overrides: Sequence[str] = (), seed: int | None = None) -> Config:
    """Read and validate a YAML file of one target.

    Args:
        path: the YAML file.
        overrides: options such as "train.steps=200", applied in order.
        seed: replaces the seed of the file.

    Raises:
        ConfigError: all mistakes at once, one per line, each as `file:line: message` or, for a
            value given on the command line, `--set key: message`.
    """
    source = _source(path, overrides, seed)
    if isinstance(source.data.get("target"), list):
        message = "target is a list; only `python -m onestep_md.run` takes several molecules."
        source.mistake(("target",), message)
        source.raise_mistakes()
    return _of_one(source)


def load_configs(
    file: Path | str | Mapping[str, object],
    overrides: Sequence[str] = (),
    seed: int | None = None,
) -> dict[str, Config]:
    """Read and validate a YAML file of one target, or of several molecules in a list.

    Args:
        file: the file, or the same sections and keys as a dict, whose relative paths start where
            the program runs.
        overrides: as of `load_config`.
        seed: as of `load_config`.

    Raises:
        ConfigError: as of `load_config`.

    Returns:
        Configurations that differ in their target, by the names of the PDB files; of one target,
        by the name of the file itself.
    """
    source = _source(file, overrides, seed)
    targets = source.data.get("target")
    if not isinstance(targets, list):
        return {source.path.stem: _of_one(source)}
    parts = [source.of_target(i) for i in range(len(targets))]
    values = [_values(part) for part in parts]
    for key, message in mistakes_of_several(values):
        source.mistake(key, message)
    source.raise_mistakes()
    names = [Path(main_file(each["target"]) or "").stem for each in values]
    configs = [_config(each, part) for each, part in zip(values, parts, strict=True)]
    return dict(zip(names, configs, strict=True))


def _source(
    file: Path | str | Mapping[str, object], overrides: Sequence[str], seed: int | None
) -> Source:
    if isinstance(file, Mapping):
        source = Source(Path("configuration"), to_yaml(file))
    else:
        source = Source(Path(file))
    for option in overrides:
        source.override(option)
    if seed is not None:
        source.replace(("seed",), seed, "--seed")
    return source


def _of_one(source: Source) -> Config:
    values = _values(source)
    source.raise_mistakes()
    return _config(values, source)


def _values(source: Source) -> dict[str, Any]:
    """Validated values of one target; mistakes are noted in the source."""
    return resolved_values(Config, source.data, source)


def _config(values: dict[str, Any], source: Source) -> Config:
    config = Config.model_validate(values)
    config._folder = source.path.parent
    return config


def config_text(config: Config) -> str:
    """The resolved configuration as YAML that `load_config` reads back."""
    return to_yaml(config.model_dump(mode="json", exclude_none=True))


def several_text(configs: Sequence[Config]) -> str:
    """The resolved configuration of several molecules, as `load_configs` reads it back."""
    values = configs[0].model_dump(mode="json", exclude_none=True)
    targets = [c.target.model_dump(mode="json", exclude_none=True) for c in configs]
    return to_yaml(values | {"target": targets})
