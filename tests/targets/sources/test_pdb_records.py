"""What the records of a PDB file mean, and what is chosen where they leave it open."""

from pathlib import Path

import pytest

from onestep_md.errors import TargetError
from onestep_md.targets.sources.pdb_records import clean_records

ATOM = "HETATM{:5d} {:<4s} {:3s} {}{:4d}       0.000   0.000   0.000  1.00  0.00           C"


def clean(*rows):
    """Clean records, given as text or as the fields of one."""
    lines = [row if isinstance(row, str) else ATOM.format(*row) for row in rows]
    text, notes = clean_records("\n".join(lines), Path("mol.pdb"))
    return text.splitlines(), notes


def names(lines):
    return [line[12:16].strip() for line in lines if line.startswith(("ATOM", "HETATM"))]


def test_names_that_repeat_within_a_residue():
    with pytest.raises(TargetError, match="2 atoms of residue ALA:1 of chain A .* such as C1, C2"):
        clean((1, "C", "ALA", "A", 1), (2, "C", "ALA", "A", 1), (3, "O", "ALA", "A", 1))
    assert clean((1, "C", "LIG", "A", 1), (2, "C", "LIG", "A", 2))[1] == []
    assert clean((1, "C", "ALA", "A", 1), "TER", (2, "C", "ALA", "A", 1))[1] == []
    lines, notes = clean((1, "C", "LIG", "A", 1), (2, "C", "LIG", "A", 1))
    assert names(lines) == ["C1", "C2"]
    assert notes == ["atoms of LIG:1 are named by element and number: several had one name"]


def test_further_models_are_left_out_and_bonds_kept():
    for start, end in (("MODEL        1", "ENDMDL"), ("MODEL", "END")):
        atoms = ((7, "C", "LIG", "A", 1), (8, "O", "LIG", "A", 1))
        lines, notes = clean(start, *atoms, end, start, *atoms, end, "CONECT    7    8", "END")
        assert names(lines) == ["C", "O"] and "CONECT    1    2" in lines
        assert notes == ["the file holds several models: the first is taken"]
    assert clean("MODEL        1", *atoms, "ENDMDL", "END")[1] == []


def locations(*letters_and_occupancies):
    for k, (letter, occupancy) in enumerate(letters_and_occupancies, start=1):
        line = ATOM.format(k, "C", "LIG", "A", 1)
        yield f"{line[:16]}{letter}{line[17:54]}{occupancy:6.2f}{line[60:]}"


@pytest.mark.parametrize(("a", "b", "taken"), [(0.3, 0.7, "B"), (0.6, 0.4, "A"), (0.5, 0.5, "A")])
def test_the_alternate_location_of_the_highest_occupancy_is_taken(a, b, taken):
    lines, notes = clean(*locations(("A", a), ("B", b)))
    assert names(lines) == ["C"] and lines[0][16] == " "
    assert float(lines[0][54:60]) == max(a, b)
    assert notes == [
        "alternate locations of the highest occupancy are taken: "
        f"{taken} of LIG:1 ({max(a, b):.2f})"
    ]


def test_one_location_alone_is_no_choice():
    lines, notes = clean(*locations(("A", 0.5)))
    assert names(lines) == ["C"] and notes == []


@pytest.mark.parametrize(
    ("name", "residue", "column", "element"),
    [
        ("CA", "ALA", "", "C"),
        ("CA", "ALA", "CA", "C"),
        ("HG", "SER", "HG", "H"),
        ("1HB", "ALA", "", "H"),
        ("CL1", "LIG", "", "CL"),
        ("BR", "LIG", "", "BR"),
        ("CL1", "LIG", "Cl", "CL"),
        ("CD", "LIG", "", "C"),
        ("NA1", "LIG", "", "N"),
        ("X1", "LIG", "O", "O"),
        ("C1", "LIG", "?", "C"),
    ],
)
def test_elements_are_those_of_names_where_columns_have_none(name, residue, column, element):
    line = f"{ATOM.format(1, name, residue, 'A', 1)[:76]}{column:>2}"
    lines, notes = clean(line)
    assert lines[0][76:78].strip() == element
    assert bool(notes) == (column.upper() != element)


def test_deuterium_is_taken_as_hydrogen():
    rows = [ATOM.format(k, name, "ALA", "A", 1)[:76] + " D" for k, name in ((1, "D"), (2, "DA"))]
    lines, notes = clean(*rows)
    assert names(lines) == ["H", "HA"] and {line[76:78] for line in lines[:2]} == {" H"}
    assert notes == ["2 deuterium atoms are taken as hydrogen: the energy is the same"]


@pytest.mark.parametrize("serials", [("99999", "A0000"), ("186a0", "186a1"), ("00100", "00101")])
def test_serials_of_any_kind_connect(serials):
    atom = ATOM.format(1, "C", "LIG", "A", 1)
    rows = [f"{atom[:6]}{s}{atom[11:13]}{k}{atom[14:]}" for k, s in enumerate(serials)]
    lines, _ = clean(*rows, "CONECT" + "".join(serials), "CONECT" + "".join(reversed(serials)))
    assert [line for line in lines if line.startswith("CONECT")] == [
        "CONECT    1    2", "CONECT    2    1",
    ]  # fmt: skip


def test_conect_records_may_repeat_bonds_and_have_no_columns():
    atoms = [(k, f"C{k}", "LIG", "A", 1) for k in (1, 2, 3)]
    for records in (("CONECT    1    2    2    3",), ("CONECT 1 2 3",)):
        lines, _ = clean(*atoms, *records)
        assert [line for line in lines if line.startswith("CONECT")] == [
            "CONECT    1    2", "CONECT    1    3",
        ]  # fmt: skip


def test_conect_records_of_serials_that_are_not_clear_are_refused():
    atoms = [(1, "C1", "LIG", "A", 1), (1, "C2", "LIG", "A", 1)]
    with pytest.raises(TargetError, match="CONECT record of serial 1 .* Number the atoms anew"):
        clean(*atoms, "CONECT    1    2")


def test_tabs_are_refused():
    with pytest.raises(TargetError, match="has tabs in its ATOM records"):
        clean("ATOM  \t1\tC\tLIG\tA")
