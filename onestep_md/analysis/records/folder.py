"""Writing and reading of the results of a run, on a molecule or a density, and of its folder."""

import json
from pathlib import Path
from typing import Annotated

from pydantic import Field, TypeAdapter

from onestep_md.analysis.records import density, molecule
from onestep_md.analysis.records.density import DensityRecord, DensityResults, read_density
from onestep_md.analysis.records.molecule import MoleculeRecord, MoleculeResults, read_molecule
from onestep_md.analysis.records.old_results import upgrade
from onestep_md.analysis.records.reading import reading
from onestep_md.analysis.records.results import FORMAT, OneEvidence, Results
from onestep_md.analysis.trajectories import check_finished
from onestep_md.errors import RunFolderError
from onestep_md.estimators.evidence import Evidence

RESULTS = "results.json"
AnyRecord = MoleculeRecord | DensityRecord
AnyResults = MoleculeResults | DensityResults
_ADAPTER: TypeAdapter[AnyResults] = TypeAdapter(Annotated[AnyResults, Field(discriminator="kind")])


def write_results(folder: Path, results: Results) -> None:
    """Write results.json."""
    results.write(folder / RESULTS)


def write_evidence(path: Path, evidence: Evidence) -> None:
    """Write the evidence of samples that were drawn later, evidence.json."""
    OneEvidence(evidence=evidence, warnings=tuple(evidence.warnings())).write(path)


def read_results(folder: Path) -> AnyResults:
    """Read results.json, also that of older runs.

    Raises:
        RunFolderError: the folder is missing or unfinished, or the file cannot be read.
    """
    check_finished(folder, (RESULTS,))
    with reading(folder):
        values = json.loads((folder / RESULTS).read_text())
        version = values.get("format", 1)
        if version > FORMAT:
            raise RunFolderError(
                f"{folder}: results.json has format {version}, and this program reads those up "
                f"to {FORMAT}. Use a newer onestep_md."
            )
        return _ADAPTER.validate_python(upgrade(folder, values) if version == 1 else values)


def read_record(folder: Path) -> AnyRecord:
    """Read a finished run folder.

    Raises:
        RunFolderError: the folder is missing, unfinished, or one of its files cannot be read.
    """
    results = read_results(folder)
    if isinstance(results, MoleculeResults):
        check_finished(folder, molecule.FILES)
        with reading(folder):
            return read_molecule(folder, results)
    check_finished(folder, density.FILES)
    with reading(folder):
        return read_density(folder, results)
