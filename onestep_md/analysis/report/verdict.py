"""The verdict on a run in plain words, with all warnings."""

from dataclasses import dataclass

from onestep_md.analysis.records.folder import AnyResults
from onestep_md.analysis.records.molecule import MoleculeResults
from onestep_md.analysis.report import density_rules, molecule_rules
from onestep_md.analysis.report.rules import LEVELS


@dataclass(frozen=True)
class Verdict:
    """Level, title and sentences for the top of the page, warnings for its sections."""

    level: str  # "good", "care" or "bad", see `rules`
    title: str
    sentences: tuple[str, ...]
    evidence_warnings: tuple[str, ...]
    run_warnings: tuple[str, ...]
    free_energy_warnings: tuple[str, ...] = ()


def judge(results: AnyResults) -> Verdict:
    """Judge a run by its worst finding; with any warning it is not good."""
    if isinstance(results, MoleculeResults):
        findings, titles = molecule_rules.findings(results), molecule_rules.TITLES
        run_warnings = molecule_rules.run_warnings(results)
        free_energy_warnings = molecule_rules.free_energy_warnings(results)
    else:
        findings, titles = density_rules.findings(results), density_rules.TITLES
        run_warnings, free_energy_warnings = list(results.run_warnings), []
    worst = max((finding.level for finding in findings), key=LEVELS.index)
    if worst == "good" and (results.headline_warnings or run_warnings or free_energy_warnings):
        worst = "care"
    return Verdict(
        level="bad" if worst == "broken" else worst,
        title=titles[worst],
        sentences=tuple(finding.text for finding in findings if finding.text),
        evidence_warnings=results.evidence_warnings,
        run_warnings=tuple(run_warnings),
        free_energy_warnings=tuple(free_energy_warnings),
    )
