"""Every error this package raises on purpose, with the exit code of the command line.

A message says what is wrong, where, and what to do about it. Anything else that escapes is a
bug and keeps its traceback.
"""


class OneStepError(Exception):
    """Base of all deliberate errors."""

    exit_code = 1


class ConfigError(OneStepError):
    """The YAML file or a command-line option is wrong."""

    exit_code = 2


class TargetError(OneStepError):
    """The molecule, its force field or its energies cannot be used."""

    exit_code = 3


class PoolError(OneStepError):
    """The evaluators or the Ray cluster are lost or were never there."""

    exit_code = 4


class CheckpointError(OneStepError):
    """A checkpoint cannot be written, read, or continued."""

    exit_code = 5


class RunFolderError(OneStepError):
    """The run folder is missing, incomplete, or already in use."""

    exit_code = 6


class Interrupted(OneStepError):
    """The run was asked to stop; everything is saved and `--resume` continues it."""

    exit_code = 75
