"""Whole files and options of the command line that are wrong: messages, all of them at once."""

from pathlib import Path

import pytest
from short_files import TARGET, messages

from onestep_md.config import load_config

BAD_FILES = {
    "empty": (
        "# nothing\n",
        ["run.yaml: the file is empty. It needs at least target.pdb, target.forcefield and "
         "target.temperature of a molecule, or target.kind: density and target.name; "
         "`python -m onestep_md.run --schema` lists every key."],
    ),
    "not a mapping": (
        "\n- target\n",
        ["run.yaml:2: the file must consist of sections such as `target:` with `key: value` "
         "lines under them."],
    ),
    "not closed": (
        "target:\n  forcefield: [a.xml, b.xml\n  temperature: 300\n",
        ["run.yaml:3: not valid YAML: expected ',' or ']', but got ':' (while parsing a flow "
         "sequence from line 2 on)."],
    ),
    "tab": (
        "target:\n\tpdb: a.pdb\n",
        ["run.yaml:2: not valid YAML: found character '\\t' that cannot start any token (indent "
         "with spaces, not tabs)."],
    ),
    "SMILES that begins with a bracket": (
        "target:\n  smiles: [NH3+]CC\n",
        ["run.yaml:2: not valid YAML: expected <block end>, but found '<scalar>' (write text that "
         "begins with [ in quotes)."],
    ),
    "backslash in double quotes": (
        'target:\n  smiles: "C/C=C\\C"\n',
        ["run.yaml:2: not valid YAML: found unknown escape character 'C' (write text with a "
         "backslash in single quotes)."],
    ),
    "control character": (
        "target:\n  pdb: a\x07.pdb\n",
        ["run.yaml:2: not valid YAML: special characters are not allowed."],
    ),
    "not text": (
        b"\xff\xfe\x00\x81",
        ["run.yaml: is not text in UTF-8; a YAML file is expected."],
    ),
    "no target": (
        "seed: 1\n",
        ["run.yaml:1: target.temperature is missing. Temperature of the Boltzmann distribution "
         "that is sampled.",
         "run.yaml:1: target.pdb is missing. PDB file of one molecule with all its hydrogens; the "
         "path starts at the folder of the YAML file. Its atom order is the order of all output.",
         "run.yaml:1: target.forcefield is missing. Give force-field files such as "
         "[amber99sbildn.xml, amber99_obc.xml], or target.system."],
    ),
    "both sources of energies, negative temperature": (
        "seed: 1\ntarget:\n  pdb: a.pdb\n  forcefield: [b.xml]\n  system: s.xml\n"
        "  temperature: -5\n",
        ["run.yaml:5: target.forcefield and target.system are both given; keep one of them.",
         "run.yaml:6: target.temperature = -5, must be more than 0 K."],
    ),
    "constraints of a System": (
        "target: {pdb: a.pdb, system: s.xml, temperature: 300, constraints: hbonds}\n",
        ['run.yaml:1: target.constraints = "hbonds" has no effect on target.system; remove it.'],
    ),
    "all mistakes at once, a misspelt key not missing as well": (
        "target:\n  pdb: 3\n  forcefeld: a.xml\n  temprature: 300\ntrain:\n  batch: 0\nsead: 1\n",
        ["run.yaml:2: target.pdb = 3, must be text.",
         "run.yaml:3: unknown key `forcefeld` in `target`. Did you mean `forcefield`?",
         "run.yaml:4: unknown key `temprature` in `target`. Did you mean `temperature`?",
         "run.yaml:6: train.batch = 0, must be at least 1.",
         "run.yaml:7: unknown key `sead` at the top level. Did you mean `seed`?"],
    ),
    "a word that YAML takes for false": (
        "target:\n  smiles: NO\n  forcefield: [gaff2]\n  solvent: vacuum\n  temperature: 300\n",
        ["run.yaml:2: target.smiles = false, must be text; YAML reads yes, no, on and off so: "
         "quote the word."],
    ),
    "keys of a density on a molecule": (
        TARGET + "  name: gmm9\n  data: a\n  dim: 2\n",
        [f"run.yaml:{line}: target.{key} belongs to kind: {kind}; the kind here is molecule, the "
         f"default. Remove it, or set target.kind: {kind}."
         for line, key, kind in ((5, "name", "density"), (6, "data", "density"),
                                 (7, "dim", "python"))],
    ),
    "keys of a molecule on a density": (
        TARGET + "  kind: density\n  name: gmm9\n  system: c.xml\n  constraints: hbonds\n",
        [f"run.yaml:{line}: target.{key} belongs to kind: molecule; the kind here is density. "
         "Remove it."
         for line, key in ((2, "pdb"), (3, "forcefield"), (4, "temperature"), (7, "system"),
                           (8, "constraints"))],
    ),
    "several mistakes around a density": (
        "target:\n  kind: density\n  data: 3\n  temperature: 300\n  nam: gmm9\n"
        "train: {method: cdds, stps: 4}\nregions: {A: {phi: [0, 90], chi: [0, 90]}}\n"
        "sample:\n  torsions: {a: [0, 1, 2, 3]}\nexploration: {moves: 0}\n",
        ["run.yaml:3: target.data = 3, must be text.",
         "run.yaml:4: target.temperature belongs to kind: molecule; the kind here is density. "
         "Remove it.",
         "run.yaml:5: unknown key `nam` in `target`. Did you mean `name`?",
         "run.yaml:6: unknown key `stps` in `train`. Did you mean `steps`?",
         "run.yaml:6: train.teacher is missing. Run folder of the pretrained sampler that is "
         "distilled; the path starts where the command is run.",
         "run.yaml:7: regions are ranges of torsions, and a density has none; remove them.",
         "run.yaml:9: sample.torsions has no effect: a density has no torsions; remove it.",
         "run.yaml:10: exploration.moves = 0, must be at least 1."],
    ),
    "flat coordinates of a molecule": (
        TARGET + "flow: {coordinates: flat}\n",
        ["run.yaml:5: flow.coordinates = flat do not fit this target; a molecule has internal "
         "and cartesian ones."],
    ),
    "network of a molecule": (
        TARGET + "flow: {network: egnn}\n",
        ["run.yaml:5: flow.network needs flow.coordinates: cartesian, for molecules and "
         "densities of particles (dw4, lj13_f1, lj55_f1); remove it."],
    ),
    "internal coordinates of a density": (
        "target: {kind: density, name: gmm9}\nflow: {coordinates: internal}\n",
        ["run.yaml:2: flow.coordinates = internal do not fit this target; a density has no "
         "bonds."],
    ),
    "cartesian coordinates of what has no particles": (
        "target: {kind: python, function: 'a:b', dim: 6}\nflow: {coordinates: cartesian}\n",
        ["run.yaml:2: flow.coordinates = cartesian do not fit this target; they are for molecules "
         "and for densities of particles: dw4, lj13_f1, lj55_f1."],
    ),
    "network of flat coordinates": (
        "target: {kind: density, name: dw4}\nflow: {coordinates: flat, network: egnn}\n",
        ["run.yaml:2: flow.network needs flow.coordinates: cartesian, for molecules and "
         "densities of particles (dw4, lj13_f1, lj55_f1); remove it."],
    ),
    "tensor products in the plane, splines of positions": (
        "target: {kind: density, name: dw4}\nflow: {network: e3nn, bins: 8}\n",
        ["run.yaml:2: flow.network = e3nn works in three dimensions, and dw4 has two; use egnn.",
         "run.yaml:2: flow.bins has no effect on flow.coordinates: cartesian; remove it."],
    ),
    "auxiliary coordinates of what has none": (
        "target: {kind: density, name: gmm9}\nsample: {auxiliaries: 8}\n",
        ["run.yaml:2: sample.auxiliaries has no effect: only particles in cartesian "
         "coordinates, and molecules of flow.base: gaussian, have auxiliary ones; remove it."],
    ),
    "auxiliary coordinates of a molecule": (
        TARGET + "flow: {coordinates: cartesian}\nsample: {auxiliaries: 2}\n",
        ["run.yaml:6: sample.auxiliaries has no effect: only particles in cartesian "
         "coordinates, and molecules of flow.base: gaussian, have auxiliary ones; remove it."],
    ),
    "base of internal coordinates": (
        TARGET + "flow: {base: gaussian}\n",
        ["run.yaml:5: flow.base has no effect but on a molecule in flow.coordinates: cartesian; "
         "remove it."],
    ),
    "base of particles": (
        "target: {kind: density, name: dw4}\nflow: {base: gaussian}\n",
        ["run.yaml:2: flow.base has no effect but on a molecule in flow.coordinates: cartesian; "
         "remove it."],
    ),
    "base misspelt": (
        TARGET + "flow: {coordinates: cartesian, base: gauss}\n",
        ['run.yaml:5: flow.base = "gauss", must be one of molecule, gaussian. Did you mean '
         "`gaussian`?"],
    ),
    "fewer than one auxiliary draw": (
        "target: {kind: density, name: dw4}\nsample: {auxiliaries: 0}\n",
        ["run.yaml:2: sample.auxiliaries = 0, must be at least 1."],
    ),
    "coordinates misspelt": (
        "target: {kind: density, name: dw4}\nflow: {coordinates: cartesan}\n",
        ['run.yaml:2: flow.coordinates = "cartesan", must be one of internal, flat, cartesian. '
         "Did you mean `cartesian`?"],
    ),
    "text instead of a list": (
        "target: {pdb: a.pdb, forcefield: b.xml, temperature: 300}\n",
        ['run.yaml:1: target.forcefield = "b.xml", must be a list, in square brackets.'],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), BAD_FILES.values(), ids=BAD_FILES)
def test_bad_file_gives_its_message(write, text, expected):
    assert messages(write(text)) == expected


def test_unreadable_files(write, tmp_path):
    write("")
    assert messages("absent.yaml") == ["absent.yaml: cannot be read: No such file or directory."]
    Path("folder.yaml").mkdir()
    assert messages("folder.yaml") == ["folder.yaml: cannot be read: Is a directory."]


BAD_OPTIONS = {
    "train.batch=0": "--set train.batch: train.batch = 0, must be at least 1.",
    "train.stps=5": "--set train.stps: unknown key `stps` in `train`. Did you mean `steps`?",
    "train.steps": "--set train.steps: must be KEY=VALUE, such as --set train.steps=200.",
    "=5": "--set =5: must be KEY=VALUE, such as --set train.steps=200.",
    "flow=[1": "--set flow: `[1` is not valid YAML: expected ',' or ']', but got '<stream end>'.",
    "seed.a=5": "--set seed.a: `seed` holds a value, not keys of its own.",
    "sample={n: 500, n: 600}": "--set sample: duplicate key `n` in `sample`.",
    "exploration.temperatures=[300, 200]": "--set exploration.temperatures: "
    "exploration.temperatures[1] = 200 K, must be more than the 300 K before it.",
}


@pytest.mark.parametrize(("option", "expected"), BAD_OPTIONS.items())
def test_bad_option_is_named_as_the_place(write, option, expected):
    assert messages(write(TARGET + "seed: 1\n"), option) == [expected]


def test_mistakes_of_file_and_options_come_together(write):
    path = write(TARGET + "train: {steps: 0, batch: 0}\n")
    assert messages(path, "train.steps=-1", seed=-2) == [
        "run.yaml:5: train.batch = 0, must be at least 1.",
        "--set train.steps: train.steps = -1, must be at least 1.",
        "--seed: seed = -2, must be at least 0.",
    ]


def test_option_repairs_a_mistake_of_the_file(write):
    path = write(TARGET + "train: {steps: 0}\n")
    assert load_config(path, ["train={steps: 4}"]).train.steps == 4
