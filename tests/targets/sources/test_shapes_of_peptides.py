"""PDB and mmCIF files of a peptide, in the shapes that programs and the PDB give them."""

import gzip
import re
from pathlib import Path

import pytest
from alanine import ALANINE, load
from checked import check, refuse

SHAPES = Path(__file__).parents[1] / "shapes"
ATOMS = [line for line in ALANINE.splitlines() if line.startswith(("ATOM", "HETATM"))]
CONECT = [line for line in ALANINE.splitlines() if line.startswith("CONECT")]
CIF = (SHAPES / "wwpdb.cif").read_text()


def columns(first, width, change, rows=ATOMS):
    """Changes columns of records, counted from 1 as in the format."""
    k = first - 1
    return [line[:k] + change(line).ljust(width)[:width] + line[k + width :] for line in rows]


def joined(*rows):
    return "\n".join([*rows, "END", ""])


def name(line):
    return line[12:16].strip()


def with_locations():
    """The side chain twice, the second time 0.05 A away and more often there."""
    for line in ATOMS:
        if name(line) in ("CB", "HB1", "HB2", "HB3"):
            x = f"{float(line[30:38]) + 0.05:8.3f}"
            yield f"{line[:16]}A{line[17:54]}  0.40{line[60:]}"
            yield f"{line[:16]}B{line[17:30]}{x}{line[38:54]}  0.60{line[60:]}"
        else:
            yield line


def renumbered(write):
    """Serials written in another way, in CONECT records as well."""
    rows = columns(7, 5, lambda line: write(int(line[6:11])))
    for line in CONECT:
        numbers = [int(line[k : k + 5]) for k in range(6, len(line.rstrip()), 5)]
        rows.append("CONECT" + "".join(write(number) for number in numbers))
    return joined(*rows)


def deuterated(line):
    if line[77] != "H":
        return line
    return f"{line[:12]}{line[12:16].replace('H', 'D')}{line[16:76]} D"


def sheared(line):
    return f"{line[:73]}{line[76:78].strip()}"


TWICE = "the file holds several models: the first is taken"
NAMES = "columns 77-78 have no elements of 22 atoms: they are those that the names begin with"
NUMBERED = "residues are numbered from 1 to 3, in the order of the file"
CODES = {"   1": "   1 ", "   2": "   1A", "   3": "   1B"}
# what the file is called, its text, and what is said beside the energy
RUN = {
    "as shipped": (ALANINE, ""),
    "altlocs": (
        joined(*with_locations()),
        "alternate locations of the highest occupancy are taken: B of ALA:2 (0.60)",
    ),
    "insertion codes": (joined(*columns(23, 5, lambda line: CODES[line[22:26]])), NUMBERED),
    "hex serials": (renumbered(lambda k: f"{k + 100_000:5x}"), ""),
    "hybrid-36 serials": (renumbered(lambda k: f"A{k:04d}"), ""),
    "serials of stars": (joined(*columns(7, 5, lambda line: "*****")), ""),
    "serials of six digits": (joined(*columns(7, 6, lambda line: f"1000{line[9:11]}")), ""),
    "negative residue numbers": (
        joined(*columns(23, 4, lambda line: f"{int(line[22:26]) - 3:4d}")),
        "",
    ),
    "segment ids": (joined(*[f"{line[:21]} {line[22:72]:<50}PROA" for line in ATOMS]), NAMES),
    "hydrogens last": (
        joined(*ATOMS[:6], *sorted(ATOMS[6:16], key=lambda line: line[77] == "H"), *ATOMS[16:]),
        "",
    ),
    "no elements": (joined(*[line[:66] for line in ATOMS]), NAMES),
    "elements in column 74": (joined(*map(sheared, ATOMS)), NAMES),
    "elements left": (joined(*columns(77, 2, lambda line: line[77])), ""),
    "names as elements": (
        joined(*columns(77, 2, lambda line: f"{name(line)[:2]:>2}")),
        "columns 77-78 have no elements of 13 atoms",
    ),
    "charges and radii of a PQR": (joined(*[f"{x[:54]} -0.123 1.5000" for x in ATOMS]), NAMES),
    "two models": (joined("MODEL        1", *ATOMS, "ENDMDL", "MODEL        2", *ATOMS), TWICE),
    "models between END": (joined(*ATOMS, "END", *ATOMS), TWICE),
    "deuterium": (
        joined(*map(deuterated, ATOMS)),
        "12 deuterium atoms are taken as hydrogen: the energy is the same",
    ),
    "names of the old format": (ALANINE.replace(" HB1", " 1HB").replace(" HB2", " 2HB"), ""),
    "CRLF": (ALANINE.replace("\n", "\r\n"), ""),
    "bytes of Latin-1": (b"REMARK  Aufgel\xf6st in D\xfcsseldorf\n" + ALANINE.encode(), ""),
    "a byte order mark": (b"\xef\xbb\xbf" + ALANINE.encode(), ""),
    "a cell that is none": (
        joined("CRYST1    1.000    1.000    1.000  90.00  90.00  90.00", *ATOMS),
        "",
    ),
}


@pytest.fixture(scope="module")
def shipped_energy():
    return load(forcefield=("amber99sbildn.xml",)).fingerprint.u_input


def assert_energy(said, expected, moved):
    """Atoms that were moved a little change the energy a little."""
    change = float(re.search(r"input geometry: u = ([-\d.]+) kT", said)[1]) - expected
    assert 0.1 < abs(change) < 5.0 if moved else abs(change) < 1e-3


def assert_is_the_peptide(folder, name, text, note, energy, moved):
    """A file is read with this note or none, and has about the energy of the shipped one."""
    said = check(folder, {"pdb": name, "forcefield": ["amber99sbildn.xml"]}, {name: text})
    assert note in said and ("note  " in said) == bool(note)
    assert_energy(said, energy, moved)


@pytest.mark.parametrize("shape", RUN)
def test_files_of_one_peptide_are_one_peptide(shape, shipped_energy, tmp_path):
    assert_is_the_peptide(tmp_path, "mol.pdb", *RUN[shape], shipped_energy, shape == "altlocs")


def cif_rows(change):
    return "".join(
        f"{change(line)}\n" if line.startswith(("ATOM", "HETATM")) else f"{line}\n"
        for line in CIF.splitlines()
    )


def second_location(line):
    if " CB " not in line:
        return line
    words = line.split()
    second = [*words]
    words[4], words[13], second[4], second[13] = "A", "0.30", "B", "0.70"
    second[10] = f"{float(words[10]) + 0.05:.3f}"
    return f"{' '.join(words)}\n{' '.join(second)}"


def as_deuterium(line):
    words = line.split()
    if words[2] == "H":
        words[2], words[3], words[-2] = "D", f"D{words[3][1:]}", f"D{words[3][1:]}"
    return " ".join(words)


CIF_RUN = {
    "as the PDB writes": (CIF, ""),
    "altlocs": (
        cif_rows(second_location),
        "alternate locations of the highest occupancy are taken: B of ALA:102 (0.70)",
    ),
    "two models": (
        CIF + cif_rows(lambda line: f"{line[:-1]}2").partition("model_num\n")[2],
        TWICE,
    ),
    "deuterium": (cif_rows(as_deuterium), "12 deuterium atoms are taken as hydrogen"),
    "bytes of Latin-1": (b"# D\xfcsseldorf\n" + CIF.encode(), ""),
    "CRLF": (CIF.replace("\n", "\r\n"), ""),
}


@pytest.mark.parametrize("shape", CIF_RUN)
def test_mmcif_files_of_one_peptide_are_one_peptide(shape, shipped_energy, tmp_path):
    assert_is_the_peptide(tmp_path, "mol.cif", *CIF_RUN[shape], shipped_energy, shape == "altlocs")


HISTIDINE = (SHAPES / "histidine.pdb").read_text()


def histidine(residue, *without):
    rows = [line for line in HISTIDINE.splitlines() if name(line) not in without]
    return joined(*rows).replace("HIP", residue)


STATES = {
    "HIP": (histidine("HIP"), "C9H15N4O2"),
    "HIE": (histidine("HIE", "HD1"), "C9H14N4O2"),
    "HID": (histidine("HID", "HE2"), "C9H14N4O2"),
    "HSD of CHARMM": (histidine("HSD", "HE2").replace(" H   HSD", " HN  HSD"), "C9H14N4O2"),
    "HSE of CHARMM": (histidine("HSE", "HD1").replace(" H   HSE", " HN  HSE"), "C9H14N4O2"),
    "HSP of CHARMM": (histidine("HSP"), "C9H15N4O2"),
    "zwitterion": ((SHAPES / "zwitterion.pdb").read_text(), "C6H12N2O3"),
    "CYS with a disulfide": ((SHAPES / "cystine.pdb").read_text(), "C13H21N5O5S2"),
    "CYX": ((SHAPES / "cystine.pdb").read_text().replace("CYS", "CYX"), "C13H21N5O5S2"),
}


@pytest.mark.parametrize("state", STATES)
def test_protonation_states_and_disulfides_have_their_names(state, tmp_path):
    text, formula = STATES[state]
    target = {"pdb": "mol.pdb", "forcefield": ["amber14/protein.ff14SB.xml"]}
    assert f" {formula}\n" in check(tmp_path, target, {"mol.pdb": text})


WATER = "HETATM   23  O   HOH B   4      20.000  20.000  20.000  1.00  0.00           O"
ION = "HETATM   23 NA    NA B   4      20.000  20.000  20.000  1.00  0.00          NA"
CELL = "CRYST1   30.000   40.000   50.000  90.00  90.00  90.00 P 21 21 21    8"
REFUSED = {
    "tabs": (joined(*[re.sub(" +", "\t", line) for line in ATOMS]), "has tabs in its ATOM"),
    "truncated": (joined(*ATOMS)[:1500], "The file may end early, or be of another format."),
    "empty": ("", "holds 0 ATOM and HETATM records"),
    "compressed": (gzip.compress(ALANINE.encode()), "is compressed. Unpack it with `gunzip`."),
    "no hydrogens": (joined(*[x for x in ATOMS if x[77] != "H"]), "add them with openmm.app.Mod"),
    "water": (joined(*ATOMS, "TER", WATER), "contains water. Explicit solvent is refused"),
    "an ion": (joined(*ATOMS, "TER", ION), "holds 2 molecules that no bond connects"),
    "a cell": (joined(CELL, *ATOMS), "If the box is a leftover, delete that line."),
    "two atoms of one name": (
        ALANINE.replace(" HB2", " HB1"),
        "2 atoms of residue ALA:2 of chain A have one name, HB1",
    ),
}


@pytest.mark.parametrize("shape", REFUSED)
def test_what_cannot_be_read_says_what_to_do(shape, tmp_path):
    text, words = REFUSED[shape]
    target = {"pdb": "mol.pdb", "forcefield": ["amber99sbildn.xml"]}
    assert words in refuse(tmp_path, target, {"mol.pdb": text})


def test_force_fields_of_ligands_need_their_file(tmp_path):
    target = {"pdb": "mol.pdb", "forcefield": ["gaff2"]}
    words = "target.forcefield: [gaff2] is for ligands: name their file in target.file."
    assert words in refuse(tmp_path, target, {"mol.pdb": ALANINE}, code=2)
