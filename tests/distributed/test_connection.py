"""A private Ray is out of reach of other machines."""

import ipaddress
import os
import subprocess
import sys
from pathlib import Path

import psutil

from onestep_md.distributed.connection import loopback

ROOT = Path(__file__).parents[2]
START = """
import ray
from onestep_md.distributed.connection import one_ray

@ray.remote
class Evaluator:
    def ready(self):
        return True

with one_ray(None, 1):
    ray.get(Evaluator.remote().ready.remote())
    print("ready", flush=True)
    input()
"""


def listening(pid: int) -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    """Addresses at which a process, and all that it started, accept connections."""
    process, found = psutil.Process(pid), []
    for one in (process, *process.children(recursive=True)):
        try:
            connections = one.net_connections("tcp")
        except psutil.NoSuchProcess:  # it has ended meanwhile
            continue
        open_ones = (c.laddr.ip for c in connections if c.status == psutil.CONN_LISTEN)
        found += [ipaddress.ip_address(ip) for ip in open_ones]
    return [getattr(address, "ipv4_mapped", None) or address for address in found]


def test_nothing_of_a_private_ray_listens_beyond_this_machine():
    environment = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    command = [sys.executable, "-c", START]
    with subprocess.Popen(command, cwd=ROOT, env=environment, **pipes) as process:
        try:
            assert process.stdout.readline() == "ready\n"
            found = listening(process.pid)
        finally:
            process.communicate("\n", timeout=60)
    assert len(found) >= 4, found  # the driver, Ray's server and node, an evaluator
    assert all(address.is_loopback for address in found), found


def test_a_cluster_that_is_joined_afterwards_is_reached_by_its_own_address():
    import ray.util

    with loopback():
        assert ray.util.get_node_ip_address() == "127.0.0.1"
    from ray._private import ray_constants

    assert ray_constants.ENABLE_RAY_CLUSTER == sys.platform.startswith("linux")
