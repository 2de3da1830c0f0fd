"""Refusal of System and force-field files that could run code when OpenMM reads them.

A serialized PythonForce is a pickle, a force field may hold Python scripts and values that OpenMM
evaluates, and forces of plug-ins do what their files say. `target.trust: true` is for users who
know where such files come from. OpenMM gets the text that was checked here: a System is written
anew from its elements, and the includes of a force field are followed here.
"""

import difflib
import io
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import openmm
from openmm.app.forcefield import _getDataDirectories

from onestep_md.errors import TargetError

HOW_TO_TRUST = (
    "If you know where the file comes from and trust it, set target.trust: true (for `sample`, "
    "give --trust)."
)
WHOLE = "A file that openmm.XmlSerializer.serialize(system) wrote, whole, is needed."
SCRIPTS = ("Script", "InitializationScript")
EVALUATED = "useDispersionCorrection"  # an attribute that OpenMM hands to eval()
# forces of openmm.XmlSerializer without plug-ins
FORCES = {
    name
    for name, kind in vars(openmm).items()
    if isinstance(kind, type) and issubclass(kind, openmm.Force)
}
PLUGINS = {"TorchForce": "openmm-torch", "PlumedForce": "openmm-plumed"}  # force -> package


def sanitise_system(text: str, path: Path, trust: bool) -> str:
    """Rewrite the XML of a serialized System so that it is safe to deserialize.

    Args:
        text: of the file.
        path: for messages.
        trust: whether code in it may run.

    Raises:
        TargetError: it is no serialized System, or contains code.
    """
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise TargetError(
            f"{path} cannot be read as XML: {error}. {_advise(path) or WHOLE}"
        ) from error
    if root.tag == "ForceField":
        raise TargetError(f"{path} is a force field: name it in target.forcefield.")
    kind = root.get("type", root.tag)
    if kind != "System":
        raise TargetError(
            f"{path} holds a serialized {kind}, not a System. Write it with "
            "openmm.XmlSerializer.serialize(system)."
        )
    if not trust:
        for element in root.iter():
            values = (element.text or "", element.tail or "", *element.attrib.values())
            if any("PythonForce" in value for value in values):
                raise TargetError(
                    f"{path} contains a PythonForce, whose Python code would run here as soon as "
                    f"the file is read. {HOW_TO_TRUST}"
                )
        for force in find_plugin_forces(root):
            package = f" ({PLUGINS[force]})" if force in PLUGINS else ""
            raise TargetError(
                f"{path} contains a {force}, which is no force of OpenMM's own but of a "
                f"plug-in{package} or of a newer version than {openmm.__version__}. Build the "
                "System without it; or, if the plug-in is installed and the file from someone "
                "you trust, for its code will run, set target.trust: true."
            )
    return ElementTree.tostring(root, encoding="unicode")


def find_plugin_forces(root: ElementTree.Element) -> list[str]:
    """List the types of forces that OpenMM does not have by itself."""
    kinds = (element.get("type", "") for element in root.iter("Force"))
    return [kind for kind in kinds if kind not in FORCES]


def open_forcefields(names: tuple[str, ...], folder: Path, trust: bool) -> list[str | io.StringIO]:
    """Open files for `openmm.app.ForceField`: the user's as text, OpenMM's by their paths.

    Args:
        names: as in target.forcefield.
        folder: of the user's files, which come first.
        trust: whether code in them may run.

    Raises:
        TargetError: a file is missing, broken, or contains code.
    """
    files: list[str | io.StringIO] = []
    todo, seen = [(name, folder) for name in names], set()
    while todo:
        name, beside = todo.pop(0)
        path = beside / name
        if not path.is_file():
            files.append(_find_openmm_file(name, beside))
        elif path.resolve() not in seen:
            seen.add(path.resolve())
            root = _read_own(path, trust)
            for included in root.findall("Include"):
                todo.append((included.get("file", ""), path.parent))
                root.remove(included)
            files.append(io.StringIO(ElementTree.tostring(root, encoding="unicode")))
    return files


def _read_own(path: Path, trust: bool) -> ElementTree.Element:
    try:
        root = ElementTree.parse(path).getroot()
    except (ElementTree.ParseError, UnicodeDecodeError) as error:
        raise TargetError(
            f"target.forcefield: {path} is broken XML: {error}. {_advise(path)}".rstrip()
        ) from error
    if root.tag == "System":
        raise TargetError(f"{path} is a serialized System: name it in target.system instead.")
    if trust:
        return root
    for element in root.iter():
        if element.tag in SCRIPTS:
            raise TargetError(
                f"target.forcefield: {path} contains a {element.tag}, Python code that would run "
                f"here. {HOW_TO_TRUST}"
            )
        if element.get(EVALUATED, "True") not in ("True", "False", "0", "1"):
            raise TargetError(
                f"target.forcefield: {path} has {EVALUATED}={element.get(EVALUATED)!r}, which "
                "would be evaluated as Python code. Write True or False."
            )
    return root


def _find_openmm_file(name: str, folder: Path) -> str:
    """Find a force field of OpenMM's own; files of the working folder do not count."""
    directories = [Path(directory) for directory in _getDataDirectories()]
    for directory in directories:
        if (directory / name).is_file():
            return str(directory / name)
    known = [
        file.relative_to(directory).as_posix()
        for directory in directories
        for file in directory.rglob("*.xml")
    ]
    inside = sorted((file for file in known if name.lower() in file.lower()), key=len)
    close = inside or difflib.get_close_matches(name, known, n=1)
    raise TargetError(
        f"target.forcefield: {name} is neither a file in {folder} nor one of OpenMM's "
        f"force fields, such as amber14/protein.ff14SB.xml."
        f"{f' Did you mean {close[0]}?' if close else ''}"
    )


def _advise(path: Path) -> str:
    """Advise what to do with a topology of another program, by the suffix of its name."""
    keys = {
        ".prmtop": "prmtop", ".parm7": "prmtop", ".top": "top", ".itp": "top", ".psf": "psf",
    }  # fmt: skip
    if path.suffix.lower() not in keys:
        return ""
    return (
        "It looks like a topology of another program: give it as "
        f"target.{keys[path.suffix.lower()]} instead."
    )
