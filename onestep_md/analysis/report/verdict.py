"""The verdict on a run in plain words: what one may do with its numbers, and what spoils them."""

from dataclasses import dataclass

from onestep_md.analysis.records.folder import Record
from onestep_md.analysis.records.molecule import MoleculeRecord
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


def judge(run: Record) -> Verdict:
    """Weigh the evidence of a run: the worst finding decides, and no warning leaves it good."""
    if isinstance(run, MoleculeRecord):
        findings, titles = molecule_rules.findings(run), molecule_rules.TITLES
        run_warnings = molecule_rules.run_warnings(run)
        free_energy_warnings = molecule_rules.free_energy_warnings(run)
    else:
        findings, titles = density_rules.findings(run), density_rules.TITLES
        run_warnings, free_energy_warnings = list(run.warnings), []
    worst = max((finding.level for finding in findings), key=LEVELS.index)
    if worst == "good" and (run.headline.warnings or run_warnings or free_energy_warnings):
        worst = "care"
    return Verdict(
        level="bad" if worst == "broken" else worst,
        title=titles[worst],
        sentences=tuple(finding.text for finding in findings if finding.text),
        evidence_warnings=tuple(text for row in run.evidence for text in row.warnings),
        run_warnings=tuple(run_warnings),
        free_energy_warnings=tuple(free_energy_warnings),
    )
