"""What all commands have in common: where energies are computed, and how they end."""

import errno
import sys
import warnings
from typing import Annotated

import typer

from onestep_md.errors import OneStepError, RunFolderError

Address = Annotated[
    str | None, typer.Option(help="Ray cluster; default RAY_ADDRESS, else this machine.")
]
Local = Annotated[bool, typer.Option(help="No Ray: energies in this process.")]


def main(command: typer.Typer) -> None:
    """Run a typer application; deliberate errors become one message and their exit code."""
    # torch, and e3nn, call it themselves
    warnings.filterwarnings("ignore", message="`torch.jit.script` is deprecated")
    try:
        command()
    except OneStepError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        where = f" while writing {error.filename}" if error.filename else ""
        print(
            f"error: the disk is full{where}. What was written before is whole: free some space "
            "and continue with --resume.",
            file=sys.stderr,
        )
        sys.exit(RunFolderError.exit_code)
