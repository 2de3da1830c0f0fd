"""The section `target`: a molecule, a benchmark density, or a function of the user's."""

from typing import Annotated, Literal

from pydantic import Field

from onestep_md.config import types
from onestep_md.config.defaults import LIGANDS, OTHERWISE, depends
from onestep_md.config.forms import PDB
from onestep_md.config.section import Choice, Section

Trust = Annotated[
    types.Truth,
    Field(
        description="Whether Python code in the files of others may run here: a PythonForce or a "
        "plug-in's force in target.system, scripts in target.forcefield, the function of the run "
        "folder train.teacher. Refused otherwise.",
    ),
]


class MoleculeTarget(Section):
    """A single molecule, in vacuum or implicit solvent."""

    kind: Literal["molecule"] = "molecule"
    pdb: str | None = Field(
        None, description=f"{PDB} A file whose name ends in .cif is read as mmCIF."
    )
    forcefield: types.Files | None = Field(
        None,
        description="Force-field XML files by their OpenMM names, implicit solvent included, or "
        "paths from the folder of the YAML file. Or give target.system, prmtop, top or psf.",
    )
    system: str | None = Field(
        None,
        description="Serialized OpenMM System (XML) that fits the PDB, for any other force "
        "field; the path starts at the folder of the YAML file.",
    )
    smiles: str | None = Field(
        None,
        description="SMILES string of a ligand, whose geometry RDKit builds and whose parameters "
        "AmberTools makes, by target.forcefield [gaff2] or [gaff], or the OpenFF toolkit, if it "
        "is installed, by [openff-2.2.1.offxml] and the like. Stereo that it leaves open is "
        "chosen, and said. Atoms are named by element and number, in the order of the string, "
        "hydrogens last. Needs the extra `ligands`.",
    )
    file: str | None = Field(
        None,
        description="SDF (molfile) or MOL2 file of a ligand instead of target.smiles, or a PDB, "
        "mmCIF or XYZ file, whose bonds RDKit perceives; the path starts at the folder of the "
        "YAML file. Its geometry and atom order are kept; a drawing in the plane gets a geometry, "
        "and hydrogens that an SDF lacks are added.",
    )
    peptide: types.Residues | None = Field(
        None,
        description="Names of residues from the N- to the C-terminus, joined by dashes, such as "
        "ACE-ALA-DAL-NME: those of the templates of target.forcefield, and the PDB's names of D "
        "amino acids, which are mirror images. Ends without a cap are charged. The geometry is "
        "built; amides are trans.",
    )
    cyclic: types.Truth | None = Field(
        None, description="Whether the last residue of target.peptide is bonded to the first."
    )
    disulfides: types.Pairs | None = Field(
        None,
        description="Pairs of cysteines of target.peptide, such as [[1, 6]], by their numbers: "
        "the first residue or cap is 1.",
    )
    prmtop: str | None = Field(
        None,
        description="Amber topology (prmtop, parm7), with inpcrd or pdb, and solvent.",
    )
    inpcrd: str | None = Field(
        None, description="Amber coordinates (inpcrd, rst7) of the atoms of target.prmtop."
    )
    top: str | None = Field(
        None,
        description="GROMACS topology, with gro or pdb, and solvent. Files that it includes are "
        "looked for beside it, then in target.include.",
    )
    gro: str | None = Field(
        None, description="GROMACS coordinates of the atoms of target.top; its box is not used."
    )
    include: str | None = Field(
        None,
        description="Folder of the GROMACS force fields (share/gromacs/top) that target.top "
        "includes; without it, that of an installed GROMACS.",
    )
    psf: str | None = Field(
        None, description="CHARMM topology (PSF), with params, crd or pdb, and solvent."
    )
    params: types.Files | None = Field(
        None,
        description="CHARMM parameter files (.prm, .rtf, .str) of target.psf, all that it needs, "
        "or the toppar.str of CHARMM-GUI that lists them.",
    )
    crd: str | None = Field(
        None, description="CHARMM coordinates (CARD) of the atoms of target.psf."
    )
    solvent: Literal["vacuum", "hct", "obc1", "obc2", "gbn", "gbn2"] | None = Field(
        None,
        description="Implicit solvent of prmtop, top, psf, smiles and file, which do not say it: "
        "vacuum, or a generalised Born model with its surface term, without salt and cutoff; of "
        "smiles and file obc2 or gbn2. In force fields of OpenMM it is one of the XML files.",
    )
    charges: Annotated[
        Literal["am1bcc", "gasteiger"] | None, depends((LIGANDS, "am1bcc"), (OTHERWISE, None))
    ] = Field(
        None,
        description="Partial charges of target.smiles and target.file: am1bcc by sqm, which takes "
        "seconds to minutes; or gasteiger, which are rougher and take no time.",
    )
    constraints: Literal["none", "hbonds"] = Field(
        "none",
        description="Bonds of fixed length: none, or all bonds to hydrogen. Not with "
        "target.system.",
    )
    trust: Trust = False
    temperature: types.Kelvin = Field(
        gt=0, description="Temperature of the Boltzmann distribution that is sampled."
    )
    held: Literal["none", "amides", "conjugated"] = Field(
        "amides",
        description="Bonds of a molecule that stay cis or trans as in the PDB, besides double "
        "bonds and stereocentres, which always stay as they are: none; amides; or conjugated: "
        "amides and single bonds between planar atoms that a barrier of more than 30 kJ/mol keeps "
        "planar, as in acids, esters, enones and dienes. What is not held is sampled in all of "
        "its wells.",
    )


class BenchmarkTarget(Section):
    """A benchmark density."""

    kind: Literal["density"] = "density"
    name: types.Density = Field(
        description=f"The benchmark density: {', '.join(types.DENSITIES)}."
    )
    data: str | None = Field(
        None,
        description="Data file of a benchmark density, for those made of data that are not "
        "shipped; the path starts at the folder of the YAML file.",
    )


class PythonTarget(Section):
    """An unnormalised density of the user's own."""

    kind: Literal["python"] = "python"
    function: types.Function = Field(
        description="Python function of x (batch, dim) that returns the log density (batch,), in "
        "torch; its module is looked for in the folder of the YAML file first. Any change of the "
        "code in it, or in modules of the same folder that it imports, makes another target, but "
        "for comments, docstrings and layout.",
    )
    dim: types.Whole = Field(ge=1, description="Number of coordinates that target.function takes.")
    trust: Trust = False


Target = Annotated[
    MoleculeTarget | BenchmarkTarget | PythonTarget,
    Field(discriminator="kind"),
    Choice(
        "kind",
        "molecule",
        "molecule: a single molecule, in vacuum or implicit solvent. density: a benchmark "
        "density, by its name. python: an unnormalised density of your own.",
    ),
]
