"""Every kind of bad configuration gives exactly the expected messages, all of them at once."""

from pathlib import Path

import pytest

from onestep_md.config import load_config
from onestep_md.errors import ConfigError

TARGET = """\
target:
  pdb: a.pdb
  forcefield: [amber96.xml]
  temperature: 300.0
"""  # four lines; what a test adds starts on line 5


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes bad.yaml into an empty current folder, so that messages start with its name."""
    monkeypatch.chdir(tmp_path)

    def write(text: str | bytes) -> Path:
        Path("bad.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
        return Path("bad.yaml")

    return write


def messages(path, *overrides, seed=None) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_config(path, overrides, seed)
    return str(caught.value).splitlines()


# ---- bad files: what is added below TARGET, and the messages without the file name

BAD_SECTIONS = {
    "misspelt key": (
        "train: {stps: 5}",
        ["5: unknown key `stps` in `train`. Did you mean `steps`?"],
    ),
    "batches that learners cannot share": (
        "train:\n  batch: 9\n  regression_batch: 30\n  buffer: 25\ncluster:\n  learners: 2",
        ["6: train.batch = 9 cannot be shared by 2 learners; take a multiple of 2"
         " (cluster.learners).",
         "8: train.buffer = 25 cannot be shared by 2 learners; take a multiple of 2"
         " (cluster.learners)."],
    ),
    "learners without evaluators": (
        "cluster:\n  learners: 4\n  evaluators: 2",
        ["7: cluster.evaluators = 2 are too few for 4 learners, each of which needs one"
         " (cluster.learners)."],
    ),
    "learners that follow paths": (
        "train: {method: osds}\ncluster: {learners: 2}",
        ["6: cluster.learners = 2 needs train.method: buffer; use one learner."],
    ),
    "pretraining where there is no buffer": (
        "train: {method: osds, pretraining: 5}",
        ['5: train.pretraining has no effect on train.method = "osds"; remove it.'],
    ),
    "misspelt section": (
        "trian: {steps: 5}",
        ["5: unknown key `trian` at the top level. Did you mean `train`?"],
    ),
    "key without a section": (
        "batch: 5",
        ["5: unknown key `batch` at the top level. It belongs to `train`."],
    ),
    "unlike any key": (
        "flow:\n  zzz: 5",
        ["6: unknown key `zzz` in `flow`. Known keys: coordinates, network, base, layers, width, "
         "orders, bins."],
    ),
    "folder is no key": (
        "folder: x",
        ["5: unknown key `folder` at the top level. Known keys: target, exploration, flow, train,"
         " cluster, sample, regions, seed."],
    ),
    "below the least value": (
        "train:\n  batch: 0",
        ["6: train.batch = 0, must be at least 1."],
    ),
    "bound with a unit": (
        "exploration: {timestep: 50, friction: -1.0}",
        ["5: exploration.timestep = 50, must be at most 5 fs.",
         "5: exploration.friction = -1.0, must be more than 0 1/ps."],
    ),
    "wrong types": (
        "train:\n  steps: many\n  batch: yes\n  buffer: 1.5\n  learning_rate: [1]",
        ['6: train.steps = "many", must be a whole number.',
         "7: train.batch = true, must be a whole number.",
         "8: train.buffer = 1.5, must be a whole number.",
         "9: train.learning_rate = [1], must be a number."],
    ),
    "unit in the value": (
        "cluster: {patience: 10 s}",
        ['5: cluster.patience = "10 s", must be a number.'],
    ),
    "not finite": (
        "train: {learning_rate: .nan}\nexploration: {duration: .inf}",
        ["5: train.learning_rate = NaN, must be a finite number.",
         "6: exploration.duration = Infinity, must be a finite number."],
    ),
    "wrong choice": (
        "train: {volume_loss: logdt}\ncluster: {platform: cuda}",
        ['5: train.volume_loss = "logdt", must be one of logdet, tangent. '
         "Did you mean `logdet`?",
         '6: cluster.platform = "cuda", must be one of auto, Reference, CPU, CUDA. '
         "Did you mean `CUDA`?"],
    ),
    "neither auto nor a count": (
        "cluster: {evaluators: 0, learner_threads: all}",
        ["5: cluster.evaluators = 0, must be auto or a whole number of at least 1.",
         '5: cluster.learner_threads = "all", must be auto or a whole number of at least 1.'],
    ),
    "value instead of a section": (
        "train: 200",
        ["5: `train` must be a section with `key: value` lines, not 200."],
    ),
    "duplicate key": (
        "train:\n  batch: 5\n  steps: 6\n  batch: 7",
        ["8: duplicate key `batch` in `train`, first given on line 6."],
    ),
    "duplicate section": (
        "seed: 1\ntarget: {temperature: 5}",
        ["6: duplicate key `target` at the top level, first given on line 1."],
    ),
    "temperatures": (
        "exploration:\n  temperatures:\n  - 310\n  - 400\n  - 350",
        ["7: exploration.temperatures[0] = 310 K, must equal target.temperature = 300 K.",
         "9: exploration.temperatures[2] = 350 K, must be more than the 400 K before it."],
    ),
    "one temperature": (
        "exploration: {temperatures: [300]}",
        ["5: exploration.temperatures = [300], must have at least 2 entries."],
    ),
    "negative temperature in the ladder": (
        "exploration: {temperatures: [300, -5]}",
        ["5: exploration.temperatures[1] = -5, must be more than 0 K."],
    ),
    "times that do not fit": (
        "exploration: {duration: 10, frame_interval: 0.3}",
        ["5: exploration.frame_interval = 0.3 ps is too long for "
         "exploration.exchange_interval = 0.2 ps.",
         "5: exploration.equilibration = 20 ps is too long for exploration.duration = 10 ps."],
    ),
    "numbers of steps": (
        "sample: {steps: [0, 3]}",
        ["5: sample.steps = [0, 3], must be a list of 0 and powers of two up to 128."],
    ),
    "one step is needed": (
        "sample: {steps: [2, 4]}",
        ["5: sample.steps = [2, 4], must rise and contain 1, because the exported samples take "
         "one step."],
    ),
    "shares of three maps": (
        "train: {step_shares: [1, 1, 1]}",
        ["5: train.step_shares = [1, 1, 1], must be four numbers of at least 0, for K = 1, 2, 4 "
         "and 8."],
    ),
    "no share of one step": (
        "train: {step_shares: [0, 1, 1, 1]}",
        ["5: train.step_shares = [0, 1, 1, 1], must begin above 0, because the buffer's chains "
         "move by one-step maps."],
    ),
    "torsions": (
        "sample:\n  torsions:\n    a: [0, 1, 2]\n    b: [0, 1, 2, 2]\n    c: [ALA:2, 1, 2, 3]",
        ["7: sample.torsions.a = [0, 1, 2], must be four atoms, each a 0-based index or "
         "RESNAME:RESID:ATOM.",
         "8: sample.torsions.b = [0, 1, 2, 2], must be four different atoms.",
         '9: sample.torsions.c = ["ALA:2", 1, 2, 3], must be four atoms, each a 0-based index or '
         "RESNAME:RESID:ATOM."],
    ),
    "torsions misspelt": (
        "sample: {torsions: atuo}",
        ['5: sample.torsions = "atuo", must be auto. Did you mean `auto`?'],
    ),
    "ranges": (
        "regions:\n  A:\n    phi: [1]\n    psi: [-10, 200]\n  B: {phi: [5, 5]}\n  C: {}\n  D: 4",
        ["7: regions.A.phi = [1], must be two numbers in degrees, [low, high].",
         "8: regions.A.psi = [-10, 200], must lie within -180..180 or within 0..360 degrees.",
         "9: regions.B.phi = [5, 5], is an empty range; the whole circle is [-180, 180].",
         "10: regions.C = {}, must have at least 1 entry.",
         "11: regions.D = 4, must hold `name: value` lines."],
    ),
    "torsion of a region, auto": (
        "regions: {A: {chi: [0, 90], phi: [0, 90], psi_12: [0, 90]}}",
        ["5: regions.A.chi: no torsion `chi`. With sample.torsions = auto there are phi and psi, "
         "or phi_2, psi_2, ...; name any other under sample.torsions."],
    ),
    "torsion of a region, named": (
        "sample: {torsions: {gamma: [0, 1, 2, 3]}}\nregions: {A: {gama: [0, 9], phi: [0, 9]}}",
        ["6: regions.A.gama: no torsion `gama` in sample.torsions. Did you mean `gamma`?",
         "6: regions.A.phi: no torsion `phi` in sample.torsions. Known: gamma."],
    ),
    "keys for densities": (
        "exploration: {particles: 99, moves: 0, snapshots: 0}\nflow: {bins: 65}",
        ["5: exploration.particles = 99, must be at least 100.",
         "5: exploration.moves = 0, must be at least 1.",
         "5: exploration.snapshots = 0, must be at least 1.",
         "6: flow.bins = 65, must be at most 64."],
    ),
    "value YAML cannot construct": (
        "seed: 2024-13-45",
        ["5: `seed` cannot be read: month must be in 1..12."],
    ),
    "alias to itself": (
        "regions: &r {A: *r}",
        ["5: `regions.A` contains itself through a YAML alias.",
         "5: regions.A = null, must hold `name: value` lines."],
    ),
    "key that is no word": (
        "? [1, 2]\n: 3",
        ["5: a key at the top level is not a plain word."],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), BAD_SECTIONS.values(), ids=BAD_SECTIONS)
def test_bad_value_gives_its_message(write, text, expected):
    assert messages(write(TARGET + text + "\n")) == [f"bad.yaml:{line}" for line in expected]


BAD_FILES = {
    "empty": (
        "# nothing\n",
        ["bad.yaml: the file is empty. It needs at least target.pdb, target.forcefield and "
         "target.temperature of a molecule, or target.kind: density and target.name; "
         "`python -m onestep_md.run --schema` lists every key."],
    ),
    "not a mapping": (
        "\n- target\n",
        ["bad.yaml:2: the file must consist of sections such as `target:` with `key: value` "
         "lines under them."],
    ),
    "not closed": (
        "target:\n  forcefield: [a.xml, b.xml\n  temperature: 300\n",
        ["bad.yaml:3: not valid YAML: expected ',' or ']', but got ':' (while parsing a flow "
         "sequence from line 2 on)."],
    ),
    "tab": (
        "target:\n\tpdb: a.pdb\n",
        ["bad.yaml:2: not valid YAML: found character '\\t' that cannot start any token (indent "
         "with spaces, not tabs)."],
    ),
    "control character": (
        "target:\n  pdb: a\x07.pdb\n",
        ["bad.yaml:2: not valid YAML: special characters are not allowed."],
    ),
    "not text": (
        b"\xff\xfe\x00\x81",
        ["bad.yaml: is not text in UTF-8; a YAML file is expected."],
    ),
    "no target": (
        "seed: 1\n",
        ["bad.yaml:1: target.pdb is missing. PDB file of one molecule with all its hydrogens; the "
         "path starts at the folder of the YAML file. Its atom order is the order of all output.",
         "bad.yaml:1: target.temperature is missing. Temperature of the Boltzmann distribution "
         "that is sampled.",
         "bad.yaml:1: target.forcefield is missing. Give force-field files such as "
         "[amber99sbildn.xml, amber99_obc.xml], or target.system."],
    ),
    "both sources of energies, negative temperature": (
        "seed: 1\ntarget:\n  pdb: a.pdb\n  forcefield: [b.xml]\n  system: s.xml\n"
        "  temperature: -5\n",
        ["bad.yaml:5: target.forcefield and target.system are both given; keep one of them.",
         "bad.yaml:6: target.temperature = -5, must be more than 0 K."],
    ),
    "constraints of a System": (
        "target: {pdb: a.pdb, system: s.xml, temperature: 300, constraints: hbonds}\n",
        ['bad.yaml:1: target.constraints = "hbonds" has no effect on target.system; remove it.'],
    ),
    "all mistakes at once, a misspelt key not missing as well": (
        "target:\n  pdb: 3\n  forcefeld: a.xml\n  temprature: 300\ntrain:\n  batch: 0\nsead: 1\n",
        ["bad.yaml:2: target.pdb = 3, must be text.",
         "bad.yaml:3: unknown key `forcefeld` in `target`. Did you mean `forcefield`?",
         "bad.yaml:4: unknown key `temprature` in `target`. Did you mean `temperature`?",
         "bad.yaml:6: train.batch = 0, must be at least 1.",
         "bad.yaml:7: unknown key `sead` at the top level. Did you mean `seed`?"],
    ),
    "keys of a density on a molecule": (
        TARGET + "  name: gmm9\n  data: a\n  dim: 2\n",
        ["bad.yaml:5: target.name has no effect on a molecule; remove it.",
         "bad.yaml:6: target.data has no effect on a molecule; remove it.",
         "bad.yaml:7: target.dim has no effect on a molecule; remove it."],
    ),
    "keys of a molecule on a density": (
        TARGET + "  kind: density\n  name: gmm9\n  system: c.xml\n  constraints: hbonds\n",
        [f"bad.yaml:{line}: target.{key} has no effect on a density; remove it."
         for line, key in ((2, "pdb"), (3, "forcefield"), (4, "temperature"), (7, "system"),
                           (8, "constraints"))],
    ),
    "several mistakes around a density": (
        "target:\n  kind: density\n  data: 3\n  temperature: 300\n  nam: gmm9\n"
        "train: {method: cdds, stps: 4}\nregions: {A: {phi: [0, 90], chi: [0, 90]}}\n"
        "sample:\n  torsions: {a: [0, 1, 2, 3]}\nexploration: {moves: 0}\n",
        ["bad.yaml:3: target.data = 3, must be text.",
         "bad.yaml:4: target.temperature has no effect on a density; remove it.",
         "bad.yaml:5: unknown key `nam` in `target`. Did you mean `name`?",
         "bad.yaml:6: unknown key `stps` in `train`. Did you mean `steps`?",
         'bad.yaml:6: train.method = "cdds" needs train.teacher, the run folder of a trained '
         "sampler.",
         "bad.yaml:7: regions are ranges of torsions, and a density has none; remove them.",
         "bad.yaml:9: sample.torsions has no effect: a density has no torsions; remove it.",
         "bad.yaml:10: exploration.moves = 0, must be at least 1."],
    ),
    "flat coordinates of a molecule": (
        TARGET + "flow: {coordinates: flat}\n",
        ["bad.yaml:5: flow.coordinates = flat do not fit this target; a molecule has internal "
         "and cartesian ones."],
    ),
    "network of a molecule": (
        TARGET + "flow: {network: egnn}\n",
        ["bad.yaml:5: flow.network needs flow.coordinates: cartesian, for molecules and "
         "densities of particles (dw4, lj13_f1, lj55_f1); remove it."],
    ),
    "internal coordinates of a density": (
        "target: {kind: density, name: gmm9}\nflow: {coordinates: internal}\n",
        ["bad.yaml:2: flow.coordinates = internal do not fit this target; a density has no "
         "bonds."],
    ),
    "cartesian coordinates of what has no particles": (
        "target: {kind: python, function: 'a:b', dim: 6}\nflow: {coordinates: cartesian}\n",
        ["bad.yaml:2: flow.coordinates = cartesian do not fit this target; they are for molecules "
         "and for densities of particles: dw4, lj13_f1, lj55_f1."],
    ),
    "network of flat coordinates": (
        "target: {kind: density, name: dw4}\nflow: {coordinates: flat, network: egnn}\n",
        ["bad.yaml:2: flow.network needs flow.coordinates: cartesian, for molecules and "
         "densities of particles (dw4, lj13_f1, lj55_f1); remove it."],
    ),
    "tensor products in the plane, splines of positions": (
        "target: {kind: density, name: dw4}\nflow: {network: e3nn, bins: 8}\n",
        ["bad.yaml:2: flow.network = e3nn works in three dimensions, and dw4 has two; use egnn.",
         "bad.yaml:2: flow.bins has no effect on flow.coordinates: cartesian; remove it."],
    ),
    "auxiliary coordinates of what has none": (
        "target: {kind: density, name: gmm9}\nsample: {auxiliaries: 8}\n",
        ["bad.yaml:2: sample.auxiliaries has no effect: only particles in cartesian "
         "coordinates, and molecules of flow.base: gaussian, have auxiliary ones; remove it."],
    ),
    "auxiliary coordinates of a molecule": (
        TARGET + "flow: {coordinates: cartesian}\nsample: {auxiliaries: 2}\n",
        ["bad.yaml:6: sample.auxiliaries has no effect: only particles in cartesian "
         "coordinates, and molecules of flow.base: gaussian, have auxiliary ones; remove it."],
    ),
    "base of internal coordinates": (
        TARGET + "flow: {base: gaussian}\n",
        ["bad.yaml:5: flow.base has no effect but on a molecule in flow.coordinates: cartesian; "
         "remove it."],
    ),
    "base of particles": (
        "target: {kind: density, name: dw4}\nflow: {base: gaussian}\n",
        ["bad.yaml:2: flow.base has no effect but on a molecule in flow.coordinates: cartesian; "
         "remove it."],
    ),
    "base misspelt": (
        TARGET + "flow: {coordinates: cartesian, base: gauss}\n",
        ['bad.yaml:5: flow.base = "gauss", must be one of molecule, gaussian. Did you mean '
         "`gaussian`?"],
    ),
    "fewer than one auxiliary draw": (
        "target: {kind: density, name: dw4}\nsample: {auxiliaries: 0}\n",
        ["bad.yaml:2: sample.auxiliaries = 0, must be at least 1."],
    ),
    "coordinates misspelt": (
        "target: {kind: density, name: dw4}\nflow: {coordinates: cartesan}\n",
        ['bad.yaml:2: flow.coordinates = "cartesan", must be one of internal, flat, cartesian. '
         "Did you mean `cartesian`?"],
    ),
    "text instead of a list": (
        "target: {pdb: a.pdb, forcefield: b.xml, temperature: 300}\n",
        ['bad.yaml:1: target.forcefield = "b.xml", must be a list, in square brackets.'],
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


def test_bounds_are_printed_in_full(write):
    assert messages(write(TARGET + "seed: 3000000000")) == [
        "bad.yaml:5: seed = 3000000000, must be less than 2147483648."
    ]


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
        "bad.yaml:5: train.batch = 0, must be at least 1.",
        "--set train.steps: train.steps = -1, must be at least 1.",
        "--seed: seed = -2, must be at least 0.",
    ]


def test_option_repairs_a_mistake_of_the_file(write):
    path = write(TARGET + "train: {steps: 0}\n")
    assert load_config(path, ["train={steps: 4}"]).train.steps == 4
