"""Files that are no PDB are named for what they are."""

import pytest

from onestep_md.errors import TargetError
from onestep_md.targets.pdb_file import check_is_pdb


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
