"""The pool on several Ray nodes of this machine, which come and go."""

import functools
import pickle
import shutil
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from onestep_md.errors import PoolError
from onestep_md.targets.evaluator import PotentialEvaluator

ray = pytest.importorskip("ray")
from onestep_md.benchmark.local_cluster import LocalCluster  # noqa: E402
from onestep_md.distributed import connection, roster  # noqa: E402
from onestep_md.distributed.metrics import RunMetrics  # noqa: E402
from onestep_md.distributed.pool import present  # noqa: E402
from onestep_md.distributed.ray_pool import RayEvaluators  # noqa: E402

SYSTEMS = Path(__file__).parents[2] / "systems"


class Slow:
    """u = |x|^2 / 2 after a pause per frame."""

    def __init__(self, pause=0.0, file=None):
        self.pause = pause
        if file:
            Path(file).read_text()

    def evaluate(self, x):
        time.sleep(self.pause * len(x))
        return 0.5 * (x**2).sum((1, 2)), x


@pytest.fixture(scope="module")
def cluster():
    with LocalCluster(2, impatient=True) as cluster:
        ray.init(address=cluster.address, log_to_driver=False)
        yield cluster
        ray.shutdown()


@pytest.fixture
def open_pool(cluster):
    opened = []

    def open_(pause=0.0, workers=None, file=None, **options):
        factory = functools.partial(Slow, pause, file)
        opened.append(RayEvaluators(factory, "Reference", workers, **options))
        return opened[-1]

    yield open_
    for pool in opened:
        pool.close()


def assert_right(pool, n=300):
    x = np.random.default_rng(n).normal(size=(n, 3, 3))
    u, grad_u = pool.evaluate(x)
    np.testing.assert_array_equal(u, 0.5 * (x**2).sum((1, 2)))
    np.testing.assert_array_equal(grad_u, x)


def work_until(pool, alive, seconds=120.0):
    """Evaluate again and again until so many evaluators can work."""
    deadline = time.monotonic() + seconds
    while pool.alive != alive and time.monotonic() < deadline:
        assert_right(pool, 20)
    assert pool.alive == alive


def node_of(cluster, pid):
    """The node whose raylet is the parent of a worker process."""
    parent = psutil.Process(pid).ppid()
    for node in cluster.nodes:
        if parent in [info.process.pid for info in node.all_processes["raylet"]]:
            return node
    raise AssertionError(f"no node has the process {pid}")


@pytest.mark.cluster
def test_fewer_cpus_than_asked_begins_with_those_and_takes_what_comes(cluster, open_pool):
    started = time.monotonic()
    pool = open_pool(workers=3)
    assert time.monotonic() - started < 14.0  # does not wait for the third
    assert (pool.workers, pool.alive) == (3, 2)
    assert present(pool).startswith("2 of 3 (Ray has no CPU for the others yet")
    assert_right(pool)
    cluster.add_node()
    work_until(pool, 3)
    assert present(pool) == "3"
    assert len({node_of(cluster, pid) for _, pid in pool.addresses}) == 3


@pytest.mark.cluster
def test_nodes_lost_and_joined_during_work(cluster, open_pool, monkeypatch):
    """Three nodes, one is lost in the middle of a batch, another joins; auto uses it."""
    monkeypatch.setattr(roster, "CENSUS", 3.0)
    pool = open_pool(pause=0.02)
    work_until(pool, 3)
    ticket = pool.submit(np.ones((300, 3, 3)))
    cluster.remove_node(cluster.nodes[0])
    u, _ = pool.collect(ticket)
    np.testing.assert_array_equal(u, np.full(300, 4.5))
    assert pool.health.lost >= 1 and pool.alive == 2  # nobody waits for the third
    cluster.add_node()  # the lost actor finds its place there
    work_until(pool, 3)
    assert pool.workers == 3
    cluster.add_node()  # a place for one more
    work_until(pool, 4)
    assert pool.workers == 4
    cluster.remove_node(cluster.nodes[-1])
    cluster.remove_node(cluster.nodes[-1])


@pytest.mark.cluster
def test_last_job_lost_with_its_node_while_the_other_is_idle(cluster, open_pool):
    pool = open_pool(pause=4.0, workers=2)  # an actor may outlive its node by a second
    ticket = pool.submit(np.ones((1, 3, 3)))  # one job, on one of the two nodes
    (flight,) = pool._flights.values()
    cluster.remove_node(node_of(cluster, flight.worker.address[1]))
    assert pool.collect(ticket)[0] == [4.5]
    assert pool.health.lost == 1


@pytest.mark.cluster
def test_evaluator_without_its_file_says_where_and_what(cluster, open_pool, tmp_path):
    missing = tmp_path / "forcefield.xml"
    with pytest.raises(PoolError, match=r"evaluator on \S+ cannot be built.*forcefield.xml"):
        open_pool(workers=1, file=missing)


@pytest.mark.cluster
def test_all_nodes_lost_is_a_pool_error_after_the_patience(cluster, open_pool):
    pool = open_pool(pause=0.01)
    pool._roster.patience = 2.0
    ticket = pool.submit(np.ones((300, 3, 3)))
    for node in list(cluster.nodes):
        cluster.remove_node(node)
    started = time.monotonic()
    with pytest.raises(PoolError, match="none of the .* evaluators .* --resume"):
        pool.collect(ticket)
    assert 1.0 < time.monotonic() - started < 15.0


def test_evaluators_need_no_force_field_file(tmp_path, monkeypatch):
    """The System travels by value: a node without the user's XML evaluates all the same."""
    from onestep_md.config import load_config
    from onestep_md.targets.molecule import load_molecule

    for name in ("alanine.pdb", "alanine-quick.yaml"):
        shutil.copy(SYSTEMS / name, tmp_path)
    import openmm.app

    shipped = Path(openmm.app.__file__).parent / "data"
    for name in ("amber99sbildn.xml", "amber99_obc.xml"):
        shutil.copy(shipped / name, tmp_path / f"my_{name}")
    options = ["target.forcefield=[my_amber99sbildn.xml, my_amber99_obc.xml]"]
    config = load_config(tmp_path / "alanine-quick.yaml", options)
    molecule = load_molecule(config.target, config.folder)
    sent = pickle.dumps(functools.partial(PotentialEvaluator, molecule, "Reference"))
    shutil.rmtree(tmp_path)
    u, _ = pickle.loads(sent)().evaluate(molecule.positions[None])
    assert np.isfinite(u).all()


def test_another_version_of_ray_or_python_is_named(monkeypatch):
    from ray._private.utils import check_version_info

    def init(**options):
        check_version_info({"ray_version": "2.1.0", "python_version": "3.11.99"}, "node 10.0.0.7")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(connection, "_require_listener", lambda address: None)
    with pytest.raises(PoolError) as raised:
        connection.connect("10.0.0.5:6379", None)
    for part in ("10.0.0.5:6379", "Ray: 2.1.0", "3.11.99", f"Ray: {ray.__version__}", "Install"):
        assert part in str(raised.value)


def test_metrics_export_rises_of_totals_and_the_last_known_ess(monkeypatch):
    from onestep_md.distributed import metrics

    seen = []

    class Fake:
        def __init__(self, name, description):
            self.name = name

        def inc(self, value):
            seen.append((self.name, "+", value))

        def set(self, value):
            seen.append((self.name, "=", value))

    monkeypatch.setattr(metrics, "Counter", Fake)
    monkeypatch.setattr(metrics, "Gauge", Fake)
    run = RunMetrics()
    run.publish({"evaluations": 100, "jobs_redispatched": 0, "ess": 0.5})
    run.publish({"evaluations": 250, "jobs_redispatched": 1, "ess": float("nan")})
    assert seen == [
        ("onestep_md_evaluations", "+", 100.0),
        ("onestep_md_ess", "=", 0.5),
        ("onestep_md_evaluations", "+", 150.0),
        ("onestep_md_jobs_redispatched", "+", 1.0),
    ]
