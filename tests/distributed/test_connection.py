"""A private Ray is out of reach of other machines."""

import ipaddress
import os
import subprocess
import sys
from pathlib import Path

import pytest

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


def descendants(pid: int) -> set[int]:
    """The process and all that it started, directly or not."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = stat.read_text()
        except OSError:  # has ended meanwhile
            continue
        parent = int(text.rpartition(")")[2].split()[1])
        children.setdefault(parent, []).append(int(stat.parent.name))
    found, todo = set(), [pid]
    while todo:
        found.add(todo[-1])
        todo += children.get(todo.pop(), [])
    return found


def sockets_of(pid: int) -> set[str]:
    """Inodes of the open sockets of a process."""
    links = []
    for link in Path(f"/proc/{pid}/fd").glob("*"):
        try:
            links.append(os.readlink(link))
        except OSError:
            continue
    return {link[8:-1] for link in links if link.startswith("socket:[")}


def address_of(written: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Of the kernel's hexadecimal notation, words of 32 bits in the machine's byte order."""
    words = bytes.fromhex(written)
    raw = b"".join(words[i : i + 4][::-1] for i in range(0, len(words), 4))
    address = ipaddress.ip_address(raw)
    return getattr(address, "ipv4_mapped", None) or address


def listening(pids: set[int]) -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    """Addresses at which these processes accept connections."""
    inodes = set().union(*(sockets_of(pid) for pid in pids))
    rows = []
    for table in ("tcp", "tcp6"):
        file = Path("/proc/net") / table
        lines = file.read_text().splitlines()[1:] if file.exists() else []
        rows += [line.split() for line in lines]
    listen = "0A"
    return [
        address_of(row[1].split(":")[0]) for row in rows if row[3] == listen and row[9] in inodes
    ]


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="no /proc/net to look at")
@pytest.mark.skipif(sys.byteorder != "little", reason="addresses are written otherwise")
def test_nothing_of_a_private_ray_listens_beyond_this_machine():
    environment = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    command = [sys.executable, "-c", START]
    with subprocess.Popen(command, cwd=ROOT, env=environment, **pipes) as process:
        try:
            assert process.stdout.readline() == "ready\n"
            found = listening(descendants(process.pid))
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
