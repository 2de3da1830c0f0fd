"""Files that are no PDB are named for what they are."""

import pytest

from onestep_md.errors import TargetError
from onestep_md.targets.pdb_file import check_is_pdb

ATOM = "HETATM{:5d} {:<4s} {:3s} {}{:4d}       0.000   0.000   0.000  1.00  0.00           C"


@pytest.mark.parametrize(
    ("text", "name", "how"),
    [
        ("@<TRIPOS>MOLECULE\nLIG\n", "MOL2", "obabel"),
        ("LIG\n\n\n  1  0\nM  END\n", "MDL molfile", "obabel"),
        ("data_x\nloop_\n_atom_site.id\nATOM 1 C\n", "mmCIF", "PDBxFile"),
        ('<?xml version="1.0"?>\n<System/>\n', "XML", "the PDB of the molecule"),
        ("%VERSION  VERSION_STAMP\n", "Amber topology", "the PDB of the molecule"),
    ],
)
def test_other_formats_say_what_to_do(tmp_path, text, name, how):
    path = tmp_path / "mol"
    path.write_text(text)
    with pytest.raises(TargetError, match=f"is a file in {name} format.*{how}"):
        check_is_pdb(path)


def test_names_that_repeat_within_a_residue(tmp_path):
    path = tmp_path / "mol.pdb"

    def check(*rows):
        path.write_text(
            "\n".join(row if isinstance(row, str) else ATOM.format(*row) for row in rows)
        )
        check_is_pdb(path)

    with pytest.raises(TargetError, match="2 atoms of residue LIG:1 of chain A .* such as C1, C2"):
        check((1, "C", "LIG", "A", 1), (2, "C", "LIG", "A", 1), (3, "O", "LIG", "A", 1))
    check((1, "C", "LIG", "A", 1), (2, "C", "LIG", "A", 2))
    check((1, "C", "LIG", "A", 1), "TER", (2, "C", "LIG", "A", 1))
    check((1, "C", "LIG", "A", 1), "ENDMDL", (1, "C", "LIG", "A", 1))
    alternate = ATOM.format(2, "C", "LIG", "A", 1)
    check((1, "C", "LIG", "A", 1), f"{alternate[:16]}B{alternate[17:]}")
