"""The atoms and bonds of a PDB file, in records that OpenMM reads.

Programs and the PDB itself write more than a molecule needs: models, alternate locations,
deuterium, serials beyond 99999; or less: no elements, one name for all atoms of an element. A note
says what is chosen or completed here.
"""

from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from openmm import app

from onestep_md.errors import TargetError

ATOMS = ("ATOM  ", "HETATM")
_TWO_LETTERS = ("CL", "BR", "SI", "SE")  # names of atoms that begin so are of these elements
_LONGEST_LIST = 3  # names in a note


@dataclass(frozen=True)
class _Atom:
    """One ATOM or HETATM record.

    Attributes:
        line: the record, of 80 columns.
        part: how many TER records stand before it: another chain of the same letter may follow.
        name: of the atom.
        location: letter of an alternate location, or empty.
        element: its symbol.
    """

    line: str
    part: int
    name: str
    location: str
    element: str

    @property
    def place(self) -> tuple[int, str]:
        """The chain and number of its residue."""
        return self.part, self.line[21:27]

    @property
    def residue(self) -> str:
        """The name of its residue, of three letters or four."""
        return self.line[17:21].strip()

    @property
    def label(self) -> str:
        """Name and number of its residue."""
        return f"{self.residue}:{self.line[22:27].strip()}"

    @property
    def is_standard(self) -> bool:
        """Whether OpenMM knows the names of the atoms of its residue."""
        known = app.PDBFile._residueNameReplacements
        return self.residue == "HSE" or (self.residue in known and self.residue != "UNK")

    def write(self, serial: int) -> str:
        """Write the record with another serial and without an alternate location."""
        name = self.name if len(self.name) == 4 else f" {self.name:<3}"
        head, tail = f"{self.line[:6]}{serial:5d} {name} ", self.line[17:76]
        if self.residue == "HSE":  # of CHARMM; OpenMM knows HSD and HSP
            tail = f"HIE{tail[3:]}"
        return f"{head}{tail}{self.element.upper():>2}{self.line[78:80]}"


@dataclass(frozen=True)
class Location:
    """Where an atom stands, among alternate locations.

    Attributes:
        place: chain and number of its residue.
        letter: of the alternate location, or empty.
        occupancy: of the location.
        label: of the residue, for notes.
    """

    place: Hashable
    letter: str
    occupancy: float
    label: str


def clean_records(text: str, path: Path) -> tuple[str, list[str]]:
    """Return the same molecule in records that OpenMM reads, and notes.

    Args:
        text: of the PDB file.
        path: of the file, for messages.

    Raises:
        TargetError: atoms of a standard residue have one name, or CONECT records are not clear.
    """
    app.PDBFile._loadNameReplacementTables()
    notes: list[str] = []
    lines = [line.ljust(80) for line in _take_first_model(text.splitlines(), notes)]
    atoms = _read_atoms(lines, path)
    atoms = _take_locations(atoms, notes)
    atoms = _complete_elements(atoms, notes)
    atoms = _take_hydrogen(atoms, notes)
    atoms = _complete_names(atoms, path, notes)
    rows = [line for line in lines if line.startswith("CRYST1") and line[6:54].strip()]
    for serial, atom in enumerate(atoms, start=1):
        if serial > 1 and atom.part != atoms[serial - 2].part:
            rows.append("TER")
        rows.append(atom.write(serial))
    rows += ["TER", *_number_bonds(lines, atoms, path), "END", ""]
    return "\n".join(rows), notes


def _take_first_model(lines: list[str], notes: list[str]) -> list[str]:
    """Leave out the atoms of further models; CONECT records stand after them."""
    first: list[str] = []
    ended = False
    left_out = 0
    for line in lines:
        if line.startswith(("ENDMDL", "END")):
            ended = any(line.startswith(ATOMS) for line in first)
        elif not ended or line.startswith("CONECT"):
            first.append(line)
        else:
            left_out += line.startswith(ATOMS)
    if left_out:
        notes.append("the file holds several models: the first is taken")
    return first


def _read_atoms(lines: list[str], path: Path) -> list[_Atom]:
    atoms, part = [], 0
    for line in lines:
        part += line.startswith("TER")
        if line.startswith(ATOMS):
            if "\t" in line:
                raise TargetError(
                    f"{path} has tabs in its ATOM records, which are read by columns. Write it "
                    "anew with spaces."
                )
            _check_coordinates(line, path)
            name, element = line[12:16].strip(), line[76:78].strip().capitalize()
            atoms.append(_Atom(line, part, name, line[16].strip(), element))
    return atoms


def _check_coordinates(line: str, path: Path) -> None:
    try:
        [float(line[k : k + 8]) for k in (30, 38, 46)]
    except ValueError as error:
        raise TargetError(
            f"{path} cannot be read as a PDB file: there are no coordinates in columns 31-54 of "
            f"`{line.rstrip()}`. The file may end early, or be of another format."
        ) from error


def _take_locations(atoms: list[_Atom], notes: list[str]) -> list[_Atom]:
    kept, more = choose_locations(
        [
            Location(atom.place, atom.location, read_occupancy(atom.line[54:60]), atom.label)
            for atom in atoms
        ]
    )
    notes += more
    return [atoms[k] for k in kept]


def choose_locations(locations: Sequence[Location]) -> tuple[list[int], list[str]]:
    """Choose one alternate location of every residue, that of the highest occupancy.

    Returns:
        Which atoms are kept, and notes.
    """
    occupancies: defaultdict[Hashable, dict[str, float]] = defaultdict(dict)
    for atom in locations:
        if atom.letter:
            sums = occupancies[atom.place]
            sums[atom.letter] = sums.get(atom.letter, 0.0) + atom.occupancy
    taken = {place: max(sorted(sums), key=sums.__getitem__) for place, sums in occupancies.items()}
    kept = [k for k, atom in enumerate(locations) if atom.letter in ("", taken.get(atom.place))]
    names = dict.fromkeys(
        f"{atom.letter} of {atom.label} ({atom.occupancy:.2f})"
        for atom in (locations[k] for k in kept)
        if len(occupancies.get(atom.place, ())) > 1 and atom.letter
    )
    if not names:
        return kept, []
    note = f"alternate locations of the highest occupancy are taken: {_list(list(names))}"
    return kept, [note]


def read_occupancy(text: str) -> float:
    """Read an occupancy, which is 1 where there is none."""
    try:
        return float(text)
    except ValueError:
        return 1.0


def _complete_elements(atoms: list[_Atom], notes: list[str]) -> list[_Atom]:
    """Take elements from names where columns 77-78 have none, or none of a standard residue."""
    complete = [replace(atom, element=_element(atom)) for atom in atoms]
    pairs = zip(atoms, complete, strict=True)
    changed = [new.name for old, new in pairs if old.element != new.element]
    if changed:
        notes.append(
            f"columns 77-78 have no elements of {len(changed)} atoms: they are those that the "
            f"names begin with ({_list(list(dict.fromkeys(changed)))})"
        )
    return complete


def _element(atom: _Atom) -> str:
    letters = atom.name.lstrip("0123456789'\"").upper()
    if atom.is_standard and letters and atom.element not in ("Ep", "D"):
        return letters[0]
    if atom.element.upper() in {*app.Element._elements_by_symbol, "EP"}:  # EP: an extra point
        return atom.element
    return letters[: 2 if letters.startswith(_TWO_LETTERS) else 1].capitalize()


def _take_hydrogen(atoms: list[_Atom], notes: list[str]) -> list[_Atom]:
    """Take deuterium as hydrogen: templates and the energy know one of them."""
    names = {(atom.place, atom.name) for atom in atoms}
    taken = []
    for atom in atoms:
        if atom.element == "D":
            name = f"H{atom.name[1:]}"
            free = atom.name.startswith("D") and (atom.place, name) not in names
            atom = replace(atom, element="H", name=name if free else atom.name)
        taken.append(atom)
    count = sum(atom.element == "D" for atom in atoms)
    if count:
        notes.append(f"{count} deuterium atoms are taken as hydrogen: the energy is the same")
    return taken


def _complete_names(atoms: list[_Atom], path: Path, notes: list[str]) -> list[_Atom]:
    """Name the atoms of a residue anew where several have one name, which is no standard one."""
    counts = Counter((atom.place, atom.residue, atom.name) for atom in atoms)
    twice = {key[:2]: (key[2], count) for key, count in counts.items() if count > 1}
    if not twice:
        return atoms
    numbers: Counter[tuple] = Counter()
    named = []
    for atom in atoms:
        key = (atom.place, atom.residue)
        if key in twice and atom.is_standard:
            name, count = twice[key]
            chain = atom.line[21].strip()
            raise TargetError(
                f"{path}: {count} atoms of residue {atom.label}"
                f"{f' of chain {chain}' if chain else ''} have one name, {name}. Atoms are told "
                f"apart by it: give each a name of its own (columns 13-16), such as {name}1, "
                f"{name}2, ..., and leave their order as it is."
            )
        if key in twice:
            numbers[*key, atom.element] += 1
            atom = replace(atom, name=f"{atom.element.upper()}{numbers[*key, atom.element]}")
        named.append(atom)
    labels = dict.fromkeys(a.label for a in atoms if (a.place, a.residue) in twice)
    notes.append(
        f"atoms of {_list(list(labels))} are named by element and number: several had one name"
    )
    return named


def _number_bonds(lines: list[str], atoms: list[_Atom], path: Path) -> list[str]:
    """Write CONECT records of the atoms by their new serials."""
    serials: defaultdict[str, list[int]] = defaultdict(list)
    for serial, atom in enumerate(atoms, start=1):
        # a sixth digit stands in column 12
        serials[atom.line[6:12].strip()].append(serial)
    rows = []
    for line in lines:
        if not line.startswith("CONECT"):
            continue
        fields = [line[k : k + 5].strip() for k in range(6, 31, 5)]
        if any(" " in field for field in fields):  # not in columns
            fields = line[6:].split()
        first, *others = (serials.get(field, []) for field in fields)
        clear = [first, *(other for other in others if other)]
        if first and any(len(some) > 1 for some in clear):
            raise TargetError(
                f"{path} has a CONECT record of serial {fields[0]} ({line.rstrip()}), and several "
                "atoms have such a serial (columns 7-11). Number the atoms anew."
            )
        if first:
            rows += [f"CONECT{first[0]:5d}{other[0]:5d}" for other in others if other]
    return list(dict.fromkeys(rows))


def _list(names: list[str]) -> str:
    more = f" and {len(names) - _LONGEST_LIST} more" if len(names) > _LONGEST_LIST else ""
    return f"{', '.join(names[:_LONGEST_LIST])}{more}"
