"""The configuration: every key of the YAML file with its type, unit, default and meaning.

The models of `sections` are the one documentation of the schema, which `python -m onestep_md.run
--schema` prints. Nothing heavy is imported here, so a typing error costs a fraction of a second.
"""

from onestep_md.config.load import (
    Config,
    config_text,
    load_config,
    load_configs,
    schema_text,
    several_text,
)
from onestep_md.config.sections import Cluster, Train

__all__ = [
    "Cluster",
    "Config",
    "Train",
    "config_text",
    "load_config",
    "load_configs",
    "schema_text",
    "several_text",
]
