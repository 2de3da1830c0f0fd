"""The launch files pass Ray's own checks, and do what they say with SLURM's commands faked."""

import os
import subprocess
import time
from pathlib import Path

import pytest
import yaml

import onestep_md.config

FOLDER = Path(__file__).parents[1] / "cluster"
LAUNCHER = ("local.yaml", "aws.yaml", "gcp.yaml")


def parsed(name):
    return yaml.safe_load((FOLDER / name).read_text())


@pytest.mark.parametrize("name", LAUNCHER)
def test_ray_accepts_the_launcher_files(name):
    util = pytest.importorskip("ray.autoscaler._private.util")
    config = parsed(name)
    commands = " ".join(config["setup_commands"])
    assert "pip install" in commands and "onestep_md" in commands
    assert config["cluster_name"] and config["auth"]["ssh_user"]
    if config["provider"]["type"] == "local":
        assert len(config["provider"]["worker_ips"]) == config["max_workers"]
    else:
        head = config["available_node_types"][config["head_node_type"]]
        assert head["resources"]["CPU"] == 0  # evaluators must not take the learner's cores
    util.validate_config(util.prepare_config(config))


def test_ray_refuses_a_misspelt_key():
    util = pytest.importorskip("ray.autoscaler._private.util")
    with pytest.raises(Exception, match="max_wokers"):
        util.validate_config(util.prepare_config(parsed("aws.yaml") | {"max_wokers": 3}))


def test_kuberay_job_has_what_a_ray_job_needs():
    job = parsed("kuberay.yaml")
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    spec = job["spec"]
    assert spec["shutdownAfterJobFinishes"] is True and spec["backoffLimit"] > 0
    cluster = spec["rayClusterSpec"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    pods = [group["template"]["spec"] for group in groups]
    images = {container["image"] for pod in pods for container in pod["containers"]}
    assert len(images) == 1 and cluster["rayVersion"] in images.pop()
    assert all(isinstance(value, str) for value in groups[0]["rayStartParams"].values())
    mounted = {mount["name"] for mount in pods[0]["containers"][0]["volumeMounts"]}
    assert mounted == {volume["name"] for volume in pods[0]["volumes"]}
    for group in cluster["workerGroupSpecs"]:
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
    assert_command_is_known(spec["entrypoint"])


def assert_command_is_known(command):
    """Files that a command names exist, and keys that it sets are keys."""
    words = command.replace('"', " ").split()
    settings = [words[i + 1] for i, word in enumerate(words) if word == "--set"]
    system = next(word for word in words if word.startswith("systems/"))
    script = next(word for word in words if word.endswith(".sh"))
    assert (FOLDER.parent / script).exists()
    onestep_md.config.load_config(FOLDER.parent / system, settings)


def test_images_and_page_agree_on_the_version():
    images = {parsed(name)["docker"]["image"] for name in ("aws.yaml", "gcp.yaml")}
    assert len(images) == 1
    assert f"FROM {images.pop()}\n" in (FOLDER / "README.md").read_text()


# --- SLURM ------------------------------------------------------------------------------------

FAKES = {
    # every "node" is this machine; the head first
    "srun": """while [ "${1#--}" != "$1" ]; do shift; done
for node in 0 1; do SLURM_NODEID=$node "$@" & done; wait; exit 1""",
    "ray": """echo "ray $* token=$RAY_AUTH_MODE" >>"$CALLS"
if [ "$SLURM_NODEID" != 0 ]; then exit 0; fi
while [ "$1" != -- ]; do shift; done
shift; "$@" """,
    "scontrol": 'echo "scontrol $*" >>"$CALLS"',
    "python": """echo "python $*" >>"$CALLS"
mkdir -p "$RUN"; touch "$RUN/config.yaml"
trap 'exit "$CODE"' TERM
if [ -n "$HANG" ]; then touch "$CALLS.started"; while :; do sleep 0.1; done; fi
exit "$CODE" """,
}


@pytest.fixture
def slurm(tmp_path):
    """Starts slurm.sh with fakes of SLURM, Ray and Python; returns the process and the calls."""
    for name, body in FAKES.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{body}\n")
        (tmp_path / name).chmod(0o755)
    calls = tmp_path / "calls"

    def start(code=0, hang=""):
        settings = {
            "PATH": f"{tmp_path}:{os.environ['PATH']}",
            "CALLS": str(calls),
            "CODE": str(code),
            "HANG": hang,
            "RAY_AUTH_MODE": "",
            "SLURM_JOB_ID": "77",
            "SLURM_JOB_NUM_NODES": "2",
            "SLURM_CPUS_PER_TASK": "16",
        }
        command = ["bash", FOLDER / "slurm.sh", "systems/alanine.yaml", tmp_path / "runs" / "a"]
        return subprocess.Popen(command, env=os.environ | settings, cwd=FOLDER.parent)

    return start, calls


def test_shell_scripts_parse():
    for script in FOLDER.glob("*.sh"):
        subprocess.run(["bash", "-n", script], check=True)


def test_job_leaves_the_learner_its_cores_and_resumes_what_is_there(slurm):
    start, calls = slurm
    assert start().wait(20) == 0
    text = calls.read_text()
    assert "--min-nodes 2 --num-cpus=12 -- " in text  # the head: 16 - 4
    assert "--min-nodes 2 --num-cpus=16 -- " in text
    started = [line for line in text.splitlines() if "symmetric-run" in line]
    assert len(started) == 2 and text.count("token=token") == 2
    (driver,) = (line for line in text.splitlines() if line.startswith("python"))
    assert "--set cluster.learner_threads=4" in driver and "--resume" not in driver
    assert "scontrol" not in text
    assert start(code=4).wait(20) == 4  # an error is not queued again
    driver = [line for line in calls.read_text().splitlines() if line.startswith("python")][-1]
    assert "--resume" in driver
    assert "scontrol" not in calls.read_text()


@pytest.mark.parametrize("code", [75, 1])  # in the training; before it
def test_end_of_the_time_limit_asks_for_a_checkpoint_and_queues_again(slurm, code):
    start, calls = slurm
    job = start(code, hang="yes")
    deadline = time.monotonic() + 20.0
    while not calls.with_suffix(".started").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    job.terminate()  # as --signal=B:TERM does
    assert job.wait(20) == code
    assert calls.read_text().splitlines()[-1] == "scontrol requeue 77"
