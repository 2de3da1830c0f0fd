"""System and force-field files that could run code when OpenMM reads them: refused before it does.

A serialized PythonForce is a pickle, a force field may hold Python scripts and values that OpenMM
evaluates, and forces of plug-ins do what their files say. Such files are for those who know where
they come from, `target.trust: true`. What is looked at here is what OpenMM is given: the text of
a System is written anew from its elements, and a force field's includes are followed here.
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
# what openmm.XmlSerializer knows without plug-ins
FORCES = {
    name
    for name, kind in vars(openmm).items()
    if isinstance(kind, type) and issubclass(kind, openmm.Force)
}
PLUGINS = {"TorchForce": "openmm-torch", "PlumedForce": "openmm-plumed"}  # force -> package


def sanitise_system(text: str, path: Path, trust: bool) -> str:
    """The XML of a serialized System that is safe to deserialize.

    Args:
        text: of the file.
        path: for messages.
        trust: whether code in it may run.

    Raises:
        TargetError: it is no serialized System, or brings code with it.
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
    """Types of the forces that OpenMM does not have by itself."""
    kinds = (element.get("type", "") for element in root.iter("Force"))
    return [kind for kind in kinds if kind not in FORCES]


def open_forcefields(names: tuple[str, ...], folder: Path, trust: bool) -> list[str | io.StringIO]:
    """What to give to `openmm.app.ForceField`: own files as their text, OpenMM's by their paths.

    Args:
        names: as in target.forcefield.
        folder: where own files are looked for first.
        trust: whether code in them may run.

    Raises:
        TargetError: a file is missing, broken, or brings code with it.
    """
    found: list[str | io.StringIO] = []
    todo, seen = [(name, folder) for name in names], set()
    while todo:
        name, beside = todo.pop(0)
        path = beside / name
        if not path.is_file():
            found.append(_find_openmm_file(name, beside))
        elif path.resolve() not in seen:
            seen.add(path.resolve())
            root = _read_own(path, trust)
            for included in root.findall("Include"):
                todo.append((included.get("file", ""), path.parent))
                root.remove(included)
            found.append(io.StringIO(ElementTree.tostring(root, encoding="unicode")))
    return found


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
    """Path of a force field of OpenMM's; never a file of the folder where the command is run."""
    directories = [Path(directory) for directory in _getDataDirectories()]
    for directory in directories:
        if (directory / name).is_file():
            return str(directory / name)
    known = [
        file.relative_to(directory).as_posix()
        for directory in directories
        for file in directory.rglob("*.xml")
    ]
    close = difflib.get_close_matches(name, known, n=1)
    raise TargetError(
        f"target.forcefield: {name} is neither a file in {folder} nor one of OpenMM's "
        f"force fields.{f' Did you mean {close[0]}?' if close else ''}"
    )


def _advise(path: Path) -> str:
    """What to do with a topology of another program, known by the ending of its name."""
    readers = {
        ".prmtop": "AmberPrmtopFile", ".parm7": "AmberPrmtopFile", ".top": "GromacsTopFile",
        ".itp": "GromacsTopFile", ".psf": "CharmmPsfFile",
    }  # fmt: skip
    if path.suffix.lower() not in readers:
        return ""
    return (
        f"It looks like a topology of another program: read it with openmm.app."
        f"{readers[path.suffix.lower()]}, and give as target.system the text of "
        "openmm.XmlSerializer.serialize(topology.createSystem())."
    )
