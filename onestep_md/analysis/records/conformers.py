"""Conformers of a molecule, as data."""

from onestep_md.analysis.records.results import Stored
from onestep_md.estimators.estimate import Estimate
from onestep_md.estimators.free_energy import RegionFreeEnergy

SDF = "conformers.sdf"


class WellCount(Stored):
    """A torsion with more than one well."""

    torsion: str
    wells: int
    symmetry: int  # turns in a circle that exchange like atoms alone


class Conformer(Stored):
    """Samples whose torsions are all in the same wells, or become so by a symmetry."""

    angles: tuple[float, ...]  # degrees, mean torsions; modulo 360 over their symmetry
    flow: RegionFreeEnergy  # from reweighted one-step samples
    explored: RegionFreeEnergy  # from the exploration
    energy: Estimate  # <U> less that of the first conformer, kJ/mol
    entropy: Estimate  # TS, likewise
    frame: int  # its sample of the lowest energy, in the order of samples.dcd
    u: float  # energy of that, kT
    forms: int = 1  # different ones, mapped onto each other by symmetries of the molecule

    @property
    def name(self) -> str:
        """Number by falling population, from 1."""
        return self.flow.name


class InputGeometry(Stored):
    """What the input geometry costs beside the ensemble."""

    conformer: str  # its number; empty if it is not among those that are listed
    u: float  # kT
    strain: Estimate  # kT, u less the mean of its conformer
    thermal: float  # kT, half of one for each degree of freedom; the mean above a harmonic minimum
    free_energy: Estimate  # kT, of its conformer above the molecule: -log p


class Conformers(Stored):
    """Conformers of a weighted ensemble, those with enough effective samples."""

    wells: tuple[WellCount, ...]  # columns of the angles
    single: tuple[str, ...]  # other reported torsions, of one well
    rows: tuple[Conformer, ...]
    symmetries: int | None = 1  # of the molecule, told apart by torsions; None: too many to search
    count: int  # conformers in which any sample has weight
    others: Estimate  # population of those that are not in `rows`
    entropy: Estimate  # of the choice between all of them, -sum p log p, in units of k
    input: InputGeometry
