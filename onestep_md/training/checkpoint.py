"""Atomic checkpoints: tensors and primitives only, written aside and then renamed.

A checkpoint holds everything the next training step depends on, so that a resumed run equals the
uninterrupted one bit for bit on the same machine. A crash or a full disk while writing leaves the
previous checkpoint untouched.
"""

from pathlib import Path

import torch

from onestep_md.errors import CheckpointError
from onestep_md.files import replacing
from onestep_md.training.identity import Identity, difference, read_identity

FORMAT = 4
_READ = (3, FORMAT)  # 3 has the same state and a text for an identity
_KEEP = 2


def save_checkpoint(folder: Path, step: int, state: dict, identity: Identity) -> Path:
    """Write `folder/step_00001200.pt` and drop all but the newest two.

    Args:
        folder: checkpoint folder, created if missing.
        step: number of training steps done.
        state: tensors, primitives and nested dicts/lists of them.
        identity: target and architecture; another one refuses to load it.

    Raises:
        CheckpointError: the file could not be written (disk full, no permission); older
            checkpoints are intact.
    """
    path = folder / f"step_{step:08d}.pt"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        payload = {"format": FORMAT, "identity": identity, "step": step, "state": state}
        with replacing(path) as aside:
            torch.save(payload, aside)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
        newest = latest_checkpoint(folder)
        kept = f"the previous one, {newest}, is intact" if newest else "there is none yet"
        raise CheckpointError(
            f"cannot write checkpoint {path}: {error}\n"
            f"  {kept}. Free some disk space and continue with --resume."
        ) from error
    for old in sorted(folder.glob("step_*.pt"))[:-_KEEP]:
        old.unlink()
    return path


def latest_checkpoint(folder: Path) -> Path | None:
    """Newest complete checkpoint of a folder, or None."""
    return max(folder.glob("step_*.pt"), default=None)


def load_checkpoint(path: Path, identity: Identity) -> dict:
    """Read the state of a checkpoint of the same target and architecture.

    Raises:
        CheckpointError: unreadable, of another format, or of another target or architecture.
    """
    try:
        payload = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a truncated file
        raise CheckpointError(
            f"cannot read checkpoint {path}: {error}\n  Delete it to continue from the one before."
        ) from error
    if payload["format"] not in _READ:
        raise CheckpointError(
            f"{path} has checkpoint format {payload['format']}, this version reads {FORMAT}"
        )
    try:
        stored = read_identity(payload["identity"])
    except ValueError as error:
        raise CheckpointError(f"cannot read checkpoint {path}: {error}") from error
    differs = difference(stored, identity)
    if differs:
        raise CheckpointError(
            f"{path} belongs to another target or architecture.\n"
            f"  {differs}\n"
            "  Use another --out, or restore the target and flow sections of the YAML file."
        )
    return payload["state"]
