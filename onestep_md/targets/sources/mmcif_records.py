"""The atoms of an mmCIF file: one model, one location of each, hydrogen for deuterium."""

import io
from pathlib import Path

from openmm.app.internal.pdbx.reader.PdbxReader import PdbxReader
from openmm.app.internal.pdbx.writer.PdbxWriter import PdbxWriter

from onestep_md.errors import TargetError
from onestep_md.targets.sources.pdb_records import Location, choose_locations, read_occupancy

_EMPTY = (".", "?", "")  # how a value that is none is written


def clean_tables(text: str, path: Path) -> tuple[str, list[str]]:
    """Return the file with the atoms alone that one molecule has, and notes.

    Args:
        text: of the mmCIF file.
        path: of the file, for messages.

    Raises:
        TargetError: it has no table of atoms.
    """
    if "_atom_site." not in text:
        raise TargetError(
            f"{path} cannot be read as mmCIF: it has no table _atom_site, as structures have. Of "
            "a small-molecule crystal or a component of the PDB, give an SDF as target.file."
        )
    blocks: list = []
    PdbxReader(io.StringIO(text)).read(blocks)
    table = blocks[0].getObj("atom_site")
    columns = {name: k for k, name in enumerate(table.getAttributeList())}
    notes: list[str] = []
    rows = table.getRowList()
    if "pdbx_PDB_model_num" in columns:
        model = columns["pdbx_PDB_model_num"]
        first = [row for row in rows if row[model] == rows[0][model]]
        if len(first) < len(rows):
            notes.append("the file holds several models: the first is taken")
        rows = first
    kept, more = choose_locations([_location(row, columns) for row in rows])
    rows = [rows[k] for k in kept]
    notes += more
    deuterium = [row for row in rows if row[columns["type_symbol"]] == "D"]
    for row in deuterium:
        row[columns["type_symbol"]] = "H"
        for name in {"label_atom_id", "auth_atom_id"} & columns.keys():
            row[columns[name]] = row[columns[name]].replace("D", "H", 1)
    if deuterium:
        notes.append(
            f"{len(deuterium)} deuterium atoms are taken as hydrogen: the energy is the same"
        )
    table.setRowList(rows)
    written = io.StringIO()
    PdbxWriter(written).write(blocks[:1])
    return written.getvalue(), notes


def _location(row: list[str], columns: dict[str, int]) -> Location:
    def value(*names: str) -> str:
        known = [row[columns[name]] for name in names if name in columns]
        return next((text for text in known if text not in _EMPTY), "")

    number = value("auth_seq_id", "label_seq_id")
    chain, residue = value("auth_asym_id", "label_asym_id"), value("auth_comp_id", "label_comp_id")
    return Location(
        place=(chain, number, value("pdbx_PDB_ins_code")),
        letter=value("label_alt_id"),
        occupancy=read_occupancy(value("occupancy")),
        label=f"{residue}:{number}",
    )
