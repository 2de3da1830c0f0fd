"""The configuration: every key of the YAML file with its type, unit, default and meaning.

The models of `targets`, `sections` and `training` are the one documentation of the schema, which
`python -m onestep_md.run --schema` prints. Nothing heavy is imported here, so a typing error costs
a fraction of a second.
"""

from onestep_md.config.config import Config
from onestep_md.config.forms import IN_RUN_FOLDER, find_form, keys_in_run_folder
from onestep_md.config.load import config_text, load_config, load_configs, several_text
from onestep_md.config.schema import schema_text
from onestep_md.config.sections import SPLINE_BINS, Annealing, Cluster, Dynamics
from onestep_md.config.states import load_states
from onestep_md.config.targets import BenchmarkTarget, MoleculeTarget, PythonTarget
from onestep_md.config.training import (
    BufferTraining,
    CddsTraining,
    OsdsTraining,
    PathTraining,
    ScdsTraining,
    Train,
)

__all__ = [
    "IN_RUN_FOLDER",
    "SPLINE_BINS",
    "Annealing",
    "BenchmarkTarget",
    "BufferTraining",
    "CddsTraining",
    "Cluster",
    "Config",
    "Dynamics",
    "MoleculeTarget",
    "OsdsTraining",
    "PathTraining",
    "PythonTarget",
    "ScdsTraining",
    "Train",
    "config_text",
    "find_form",
    "keys_in_run_folder",
    "load_config",
    "load_configs",
    "load_states",
    "schema_text",
    "several_text",
]
