"""Every kind of bad value in a good file gives exactly the expected messages, all at once."""

import pytest
from short_files import TARGET, messages

# what is added below TARGET, and the messages without the file name
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
    "too few particles to refine": (
        "sample: {refine: 100}",
        ["5: sample.refine = 100 particles are too few; take 512 or more, or 0 for none."],
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
        ["5: train.pretraining belongs to method: buffer; the method here is osds. Remove it."],
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
         '6: cluster.platform = "cuda", must be one of auto, Reference, CPU, CUDA, torch, '
         "torch-CUDA. Did you mean `CUDA`?"],
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
         "or phi_2, psi_2, ..., and without these torsions such as C1-C2-O3-C4; name any other "
         "under sample.torsions."],
    ),
    "torsion of a region, named": (
        "sample: {torsions: {gamma: [0, 1, 2, 3]}}\nregions: {A: {gama: [0, 9], phi: [0, 9]}}",
        ["6: regions.A.gama: no torsion `gama` in sample.torsions. Did you mean `gamma`?",
         "6: regions.A.phi: no torsion `phi` in sample.torsions. Known: gamma."],
    ),
    "keys for densities": (
        "exploration: {method: annealing, particles: 99, moves: 0, snapshots: 0}\n"
        "flow: {bins: 65}",
        ["5: exploration.particles = 99, must be at least 100.",
         "5: exploration.moves = 0, must be at least 1.",
         "5: exploration.snapshots = 0, must be at least 1.",
         "6: flow.bins = 65, must be at most 64."],
    ),
    "keys of annealing where dynamics is the default": (
        "exploration:\n  particles: 500\n  moves: 3",
        ["6: exploration.particles belongs to method: annealing or run; the method here is"
         " dynamics, the default. Remove it, or set exploration.method: annealing.",
         "7: exploration.moves belongs to method: annealing or run; the method here is dynamics,"
         " the default. Remove it, or set exploration.method: annealing."],
    ),
    "keys of dynamics where annealing is the default": (
        "exploration:\n  duration: 100.0\n  temperatures: [300, 500]\n"
        "flow: {coordinates: cartesian}",
        ["6: exploration.duration belongs to method: dynamics; the method here is annealing, the"
         " default. Remove it, or set exploration.method: dynamics.",
         "7: exploration.temperatures belongs to method: dynamics; the method here is annealing,"
         " the default. Remove it, or set exploration.method: dynamics."],
    ),
    "a run to start from, without its folder": (
        "exploration: {method: run}",
        ["5: exploration.from is missing. Run folder of the flow that a run starts from, of the "
         "same atoms with another force field, solvent or temperature, or of a density with as "
         "many coordinates; the path starts where the command is run."],
    ),
    "a run to start from, and a method that learns from none": (
        "exploration: {method: run, from: runs/a}\ntrain: {method: osds}",
        ["6: train.method = osds learns from no run; exploration.method: run needs "
         "train.method: buffer."],
    ),
    "keys of the method that was not chosen": (
        "exploration: {method: annealing, duration: 100, particles: 500}",
        ["5: exploration.duration belongs to method: dynamics; the method here is annealing."
         " Remove it."],
    ),
    "a wrong method, and keys of one that it may be": (
        "exploration: {method: anealing, moves: 0}\ntrain: {method: 3, steps: 0, grid: angle}",
        ['5: exploration.method = "anealing", must be one of dynamics, annealing, run, '
         "trajectory. Did you mean `annealing`?",
         "5: exploration.moves = 0, must be at least 1.",
         "6: train.method = 3, must be one of buffer, osds, scds, cdds.",
         "6: train.steps = 0, must be at least 1."],
    ),
    "no method can be told where the coordinates are wrong": (
        "exploration: {duration: 100}\nflow: {coordinates: cartesan}",
        ['6: flow.coordinates = "cartesan", must be one of internal, flat, cartesian. Did you '
         "mean `cartesian`?"],
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
    assert messages(write(TARGET + text + "\n")) == [f"run.yaml:{line}" for line in expected]


def test_bounds_are_printed_in_full(write):
    assert messages(write(TARGET + "seed: 3000000000")) == [
        "run.yaml:5: seed = 3000000000, must be less than 2147483648."
    ]
