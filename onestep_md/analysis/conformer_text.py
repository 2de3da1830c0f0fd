"""Conformers of a molecule in words and as a table of text."""

import math
from collections.abc import Callable

from onestep_md.analysis.records.conformers import Conformer, Conformers, WellCount
from onestep_md.estimators.estimate import Estimate
from onestep_md.estimators.limits import ENOUGH_IN_REGION

ANGLE_NAMES = (
    "c: cis, within 30 of 0; g: gauche, 30 to 90; a: anticlinal, 90 to 150; t: trans, 150 and "
    "more; + and - are the signs of the angle. Torsions of groups that are symmetric about them "
    "have no letter, and their angle is one of several that are alike."
)


def name_angle(degrees: float, symmetry: int = 1) -> str:
    """Format a torsion in degrees as `g+ 65`; one of a symmetric group as `65`."""
    angle = round(degrees)
    if symmetry > 1:
        return f"{angle}"
    size = abs(angle)
    letter = "c" if size < 30 else "g" if size < 90 else "a" if size < 150 else "t"
    sign = ("+" if angle > 0 else "-") if letter in "ga" else ""
    return f"{letter}{sign} {angle}"


def conformer_table(kT: float, conformers: Conformers | None, explored_by: str) -> list[str]:
    """Format one line per conformer, and a sentence for each number of all of them."""
    if conformers is None:
        return []
    lines = ["", f"conformers (one step, reweighted | {explored_by})"]
    if conformers.rows:
        several = _have_several_forms(conformers)
        lines.append(
            f"  {'':>3}  {'forms  ' if several else ''}{'population (%)':<16} "
            f"{'free energy':<40}  {'<U> (kJ/mol)':<15} {'TS (kJ/mol)':<15} "
            f"{'effective':>9}  {'k-hat':>5} | {'population (%)':<16} "
            f"mean {', '.join(well.torsion for well in conformers.wells) or 'torsions'} (deg)"
        )
        lines += [_row(kT, row, several) for row in conformers.rows]
    return lines + [f"  {text}" for text in describe_conformers(kT, conformers)]


def _row(kT: float, row: Conformer, several_forms: bool) -> str:
    flow = row.flow
    angles = " ".join(f"{angle:.0f}" for angle in row.angles)
    line = (
        f"  {row.name:>3}  {f'{row.forms:>5}  ' if several_forms else ''}"
        f"{_percent(flow.probability):<16} "
        f"{flow.delta_f.format_kt_and_kj(kT):<40}  {row.energy.format(''):<15} "
        f"{row.entropy.format(''):<15} {flow.effective:>9.1f}  {flow.khat:>5.2f} | "
        f"{_percent(row.explored.probability):<16} {angles}  {flow.mark}"
    )
    return line.rstrip()


def describe_conformers(
    kT: float, conformers: Conformers, symbol: Callable[[str], str] = str
) -> list[str]:
    """Say in a sentence each what conformers are, which are left out, and their entropy.

    Args:
        kT: kJ/mol.
        conformers: conformers of a molecule.
        symbol: writes the name of a torsion.
    """
    several = ", ".join(_describe_well(well, symbol(well.torsion)) for well in conformers.wells)
    several, single = several or "none", ", ".join(map(symbol, conformers.single))
    texts = [
        f"Torsions with several wells: {several}" + (f"; with one: {single}." if single else "."),
        f"{conformers.count:,} conformer{'s have' if conformers.count > 1 else ' has'} any "
        "weight; those that are not in the table hold "
        f"{_percent(conformers.others)} %, and most have fewer than {ENOUGH_IN_REGION} effective "
        "samples.",
        "Conformational entropy k sum p log(1/p) of the choice between all of them: "
        f"{_format_entropy(conformers.entropy, kT)}.",
    ]
    if conformers.count == len(conformers.rows):
        del texts[1]
    if conformers.symmetries is None:
        texts.append(
            "The molecule has too many symmetries to search: forms of one conformer that "
            "they map onto each other count apart."
        )
    elif _have_several_forms(conformers):
        texts.append(
            "Exchanges of like atoms map the molecule onto itself, and a conformer onto as many "
            "forms as the table says; they count as one, and its angles are those of one of them."
        )
    return texts + _describe_input(kT, conformers)


def _have_several_forms(conformers: Conformers) -> bool:
    return any(row.forms > 1 for row in conformers.rows)


def _describe_well(well: WellCount, name: str) -> str:
    modulo = f" modulo {360 / well.symmetry:g} degrees" if well.symmetry > 1 else ""
    return f"{name} ({well.wells}{modulo})"


def _describe_input(kT: float, conformers: Conformers) -> list[str]:
    given = conformers.input
    above = Estimate(given.strain.value + given.thermal, given.strain.error, given.strain.reason)
    which = f"conformer {given.conformer}" if given.conformer else "a conformer not in the table"
    return [
        f"Strain of the input geometry, its u of {given.u:.2f} kT less the mean of {which}: "
        f"{given.strain.format_kt_and_kj(kT)}; a harmonic minimum would have "
        f"{-given.thermal:.1f} kT, half of one for each degree of freedom"
        + (
            "."
            if math.isnan(above.value)
            else f", and the input is {above.format('kT')} above it."
        ),
        f"Free energy of {which}, that of the input, above the molecule, log(1/p): "
        f"{given.free_energy.format_kt_and_kj(kT)}.",
    ]


def _format_entropy(entropy: Estimate, kT: float) -> str:
    if math.isnan(entropy.value):
        return f"no estimate, {entropy.reason}"
    return f"{entropy.format('k')}, TS = {_scaled(entropy, kT)} kJ/mol"


def _percent(fraction: Estimate) -> str:
    return _scaled(fraction, 100.0)


def _scaled(value: Estimate, factor: float) -> str:
    return Estimate(value.value * factor, value.error * factor, value.reason).format("")
