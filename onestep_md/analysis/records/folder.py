"""Reads a finished run folder as the record of what was sampled: a molecule or a density."""

import json
from collections.abc import Callable
from pathlib import Path

from onestep_md.analysis.records import density, molecule
from onestep_md.analysis.records.density import DensityRecord, read_density
from onestep_md.analysis.records.measurements import reading
from onestep_md.analysis.records.molecule import MoleculeRecord, read_molecule
from onestep_md.analysis.trajectories import check_finished

Record = MoleculeRecord | DensityRecord
_KINDS: dict[str, tuple[tuple[str, ...], Callable[[Path, dict], Record]]] = {
    "molecule": (molecule.FILES, read_molecule),
    "density": (density.FILES, read_density),
}


def read_record(folder: Path) -> Record:
    """Read a finished run folder.

    Raises:
        RunFolderError: the folder is missing, unfinished, or one of its files cannot be read.
    """
    check_finished(folder, ("results.json",))
    with reading(folder):
        results = json.loads((folder / "results.json").read_text())
        # older runs do not say what they are
        guess = "density" if "dim" in results["fingerprint"] else "molecule"
        files, read = _KINDS[results.get("kind", guess)]
    check_finished(folder, files)
    with reading(folder):
        return read(folder, results)
