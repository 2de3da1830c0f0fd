"""Bad inputs in the formats of other programs are refused with one sentence that helps."""

import re
import shutil
from pathlib import Path

import pytest
from alanine import SYSTEMS

from onestep_md.config import MoleculeTarget
from onestep_md.errors import TargetError
from onestep_md.targets.molecule import load_molecule

DATA = Path(__file__).parents[1] / "data"
AMBER = {"prmtop": "alanine.prmtop", "inpcrd": "alanine.rst7"}
GROMACS = {"top": "alanine.top", "gro": "alanine.gro"}
CHARMM = {"psf": "alanine.psf", "params": ["alanine.prm"], "crd": "alanine.crd"}


@pytest.fixture
def refusal(tmp_path):
    """Reads the data with some files written anew, and returns the message."""

    def of(keys, files=None, solvent="vacuum"):
        for path in DATA.iterdir():
            shutil.copy(path, tmp_path)
        for name, change in (files or {}).items():
            path = tmp_path / name
            old = path.read_text() if path.exists() else ""
            new = change(old) if callable(change) else change
            assert new != old
            path.write_text(new)
        target = MoleculeTarget(temperature=300.0, solvent=solvent, **keys)
        with pytest.raises(TargetError) as caught:
            load_molecule(target, tmp_path)
        message = str(caught.value)
        assert "\n" not in message and message.endswith((".", ")"))
        return message

    return of


@pytest.mark.parametrize("form", [AMBER, GROMACS, CHARMM])
def test_missing_files(refusal, form):
    for key in form:
        absent = ["no.prm"] if key == "params" else "no.file"
        message = refusal(form | {key: absent})
        assert message.startswith(f"target.{key}: ") and "does not exist" in message


@pytest.mark.parametrize(
    ("form", "name", "key"),
    [
        (AMBER, "alanine.prmtop", "prmtop"),
        (AMBER, "alanine.rst7", "inpcrd"),
        (GROMACS, "alanine.top", "top"),
        (GROMACS, "alanine.gro", "gro"),
        (CHARMM, "alanine.psf", "psf"),
        (CHARMM, "alanine.prm", "params"),
        (CHARMM, "alanine.crd", "crd"),
    ],
)
def test_files_of_another_format_and_files_that_end_early(refusal, form, name, key):
    message = refusal(form, {name: "HELLO\n"})
    assert name in message
    half = refusal(form, {name: lambda text: text[: len(text) // 2]})
    assert re.match(rf"target.({key}|psf)|.*{re.escape(name)}", half)


def test_boxes(refusal):
    box = "".join(f"{number:12.7f}" for number in (30, 30, 30, 90, 90, 90))
    rst7 = {"alanine.rst7": lambda text: f"{text}{box}\n"}
    assert "alanine.rst7 has a periodic box, its last line" in refusal(AMBER, rst7)

    def with_box(text):
        # IFBOX is the 28th pointer
        head, pointers = text.split("%FLAG POINTERS")
        form, *rows = pointers.split("\n", 2)[1:]
        words = rows[0].split("%FLAG", 1)
        numbers = words[0].split()
        numbers[27] = "1"
        tens = (numbers[k : k + 10] for k in range(0, len(numbers), 10))
        lines = ["".join(f"{int(number):8d}" for number in ten) for ten in tens]
        box = (
            "%FLAG BOX_DIMENSIONS\n%FORMAT(5E16.8)\n  9.00000000E+01  3.00000000E+01"
            "  3.00000000E+01  3.00000000E+01\n"
        )
        return f"{head}%FLAG POINTERS\n{form}\n" + "\n".join(lines) + f"\n%FLAG{words[1]}{box}"

    assert "describes a periodic box" in refusal(AMBER, {"alanine.prmtop": with_box})


def test_a_pdb_or_coordinates_in_another_order(refusal):
    lines = (SYSTEMS / "alanine.pdb").read_text().splitlines()
    atoms = [k for k, line in enumerate(lines) if line.startswith(("ATOM", "HETATM"))]

    def swapped(i, j):
        rows = list(lines)
        a, b = atoms[i], atoms[j]
        rows[a], rows[b] = lines[b], lines[a]
        return "\n".join(rows)

    for form in (AMBER, GROMACS, CHARMM):
        keys = {k: v for k, v in form.items() if k not in ("inpcrd", "gro", "crd")}
        keys["pdb"] = "mol.pdb"
        for i, j in ((4, 8), (8, 10), (1, 2)):  # C and CA, CA and CB, two H of one methyl
            message = refusal(keys, {"mol.pdb": swapped(i, j)})
            assert "the same in another order" in message or "same atoms, in another" in message
        gone = "\n".join(line for line in lines if " HB1 " not in line)
        assert "has 22 atoms, and" in refusal(keys, {"mol.pdb": gone})

    def turn_rows(text):
        rows = text.splitlines()
        rows[2 + 8], rows[2 + 10] = rows[2 + 10], rows[2 + 8]
        return "\n".join(rows)

    message = refusal(GROMACS, {"alanine.gro": turn_rows})
    assert "is ALA:2:CA" in message and "another order" in message

    def exchange(text):
        first, count, *rows = text.splitlines()
        numbers = " ".join(rows).split()
        numbers[24:27], numbers[30:33] = numbers[30:33], numbers[24:27]
        lines = [
            "".join(f"{float(n):12.7f}" for n in numbers[k : k + 6])
            for k in range(0, len(numbers), 6)
        ]
        return "\n".join([first, count, *lines]) + "\n"

    message = refusal(AMBER, {"alanine.rst7": exchange})
    assert "are bonded in" in message and "nm apart in" in message


def test_coordinates_of_another_molecule(refusal):
    message = refusal(AMBER | {"inpcrd": "ethanol.rst7"})
    assert "alanine.prmtop has 22 atoms" in message and "ethanol.rst7 has 9" in message
    message = refusal({"top": "alanine.top", "pdb": "ethanol.pdb"})
    assert "ethanol.pdb has 9" in message


def test_missing_includes(refusal):
    message = refusal(GROMACS, {"alanine.top": lambda text: '#include "oplsaa.ff/a.itp"\n' + text})
    assert "includes oplsaa.ff/a.itp" in message and "give target.include" in message
    message = refusal(GROMACS | {"include": "no"})
    assert message.startswith("target.include: ") and "is no folder" in message


def test_energies_that_the_reader_of_gromacs_leaves_out(refusal):
    restraint = "[ position_restraints ]\n1 1 1000 1000 1000\n"
    files = {"alanine.top": lambda text: text.replace("[ system ]", f"{restraint}\n[ system ]")}
    message = refusal(GROMACS, files)
    assert "[ position_restraints ]" in message and "leaves out" in message


def test_missing_parameters(refusal):
    def without_angle(text):
        start = text.index("ANGLES\n") + 7
        return text[:start] + text[text.index("\n", start) + 1 :]

    message = refusal(CHARMM, {"alanine.prm": without_angle})
    assert "Missing angle type" in message and "target.params" in message

    def without_dihedral_values(text):
        head, rest = text.split("[ dihedrals ]")
        rows = rest.splitlines()
        rows[2] = " ".join(rows[2].split()[:5])
        return f"{head}[ dihedrals ]" + "\n".join(rows)

    message = refusal(GROMACS, {"alanine.top": without_dihedral_values})
    assert "cannot build the System" in message and "parameters" in message
    message = refusal(CHARMM | {"params": ["alanine.gro"]})
    assert ".prm, .par, .rtf" in message


def test_no_radii_for_a_solvent(refusal):
    def without_radii(text):
        start = text.index("%FLAG RADII")
        return text[:start] + text[text.index("%FLAG", start + 5) :]

    message = refusal(AMBER, {"alanine.prmtop": without_radii}, solvent="obc2")
    assert "has no radii for an implicit solvent" in message and "vacuum" in message


def test_several_molecules(refusal):
    files = {
        "ethanol.top": lambda text: re.sub(r"eth +1 *$", "eth 2", text.rstrip()) + "\n",
    }
    message = refusal({"top": "ethanol.top", "gro": "ethanol.gro"}, files)
    assert "holds 2 molecules that no bond connects" in message and "gmx trjconv" in message


def test_virtual_sites(refusal):
    def with_site(text):
        site = "[ virtual_sites2 ]\n4 1 5 1 0.5\n"
        return text.replace("[ system ]", f"{site}\n[ system ]")

    message = refusal(GROMACS, {"alanine.top": with_site})
    assert "ACE:1:H3 is a virtual site" in message


def test_two_atoms_of_one_name(refusal):
    same = {"alanine.psf": lambda text: text.replace(" HB2 ", " HB1 ")}
    message = refusal(CHARMM, same | {"alanine.crd": lambda t: t.replace(" HB2 ", " HB1 ")})
    assert "several atoms of residue ALA:2 are called HB1" in message


def test_mmcif_without_a_table_and_with_a_box(refusal):
    keys = {"pdb": "alanine.cif", "forcefield": ["amber99sbildn.xml"]}
    assert "cannot be read as mmCIF" in refusal(keys, {"alanine.cif": "data_x\n"}, None)
    cell = "".join(
        f"_cell.{name} {value}\n"
        for name, value in (
            ("length_a", 30), ("length_b", 30), ("length_c", 30),
            ("angle_alpha", 90), ("angle_beta", 90), ("angle_gamma", 90),
        )
    )  # fmt: skip
    boxed = {"alanine.cif": lambda text: text.replace("data_cell\n", f"data_cell\n{cell}")}
    assert "_cell entries" in refusal(keys, boxed, None)
