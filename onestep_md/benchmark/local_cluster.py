"""Several Ray nodes on this machine, for tests and for the chaos benchmark.

The head has no CPU, so that every evaluator is on a node that can be lost.
"""

from typing import Any

from ray.cluster_utils import Cluster

STORE_BYTES = 100 * 2**20


class LocalCluster:
    """A head and one-CPU nodes; a context manager."""

    def __init__(self, nodes: int, impatient: bool = False):
        """Start the head and the nodes; an impatient cluster notices a lost node within 2 s."""
        head: dict[str, Any]
        head = {"num_cpus": 0, "include_dashboard": False, "object_store_memory": STORE_BYTES}
        if impatient:  # Ray's defaults take 13 s
            head["_system_config"] = {
                "health_check_initial_delay_ms": 0,
                "health_check_period_ms": 500,
                "health_check_failure_threshold": 3,
            }
        self._cluster = Cluster(initialize_head=True, head_node_args=head)
        self.nodes: list[Any] = []
        for _ in range(nodes):
            self.add_node()

    @property
    def address(self) -> str:
        """Address for drivers, HOST:PORT."""
        return self._cluster.address

    def add_node(self, cpus: int = 1) -> Any:
        """Start another node and wait until the cluster has it."""
        self.nodes.append(self._cluster.add_node(num_cpus=cpus, object_store_memory=STORE_BYTES))
        return self.nodes[-1]

    def remove_node(self, node: Any) -> None:
        """Kill a node and everything on it, as a crash does."""
        self._cluster.remove_node(node, allow_graceful=False)
        self.nodes.remove(node)

    def close(self) -> None:
        """End all nodes."""
        self._cluster.shutdown()

    def __enter__(self) -> "LocalCluster":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
