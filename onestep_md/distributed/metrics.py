"""Numbers of a run for Ray's dashboard and Prometheus, under names that begin with onestep_md_.

Ray exports them where `ray[default]` is installed and otherwise drops them; `metrics.jsonl` is
written in any case.
"""

import math

from ray.util.metrics import Counter, Gauge

TOTALS = ("evaluations", "jobs_redispatched")  # never fall: Prometheus takes rates of them


class RunMetrics:
    """Makes a counter or a gauge for every name it is given."""

    def __init__(self):
        self._exported: dict[str, Counter | Gauge] = {}
        self._totals = dict.fromkeys(TOTALS, 0.0)

    def publish(self, values: dict[str, float]) -> None:
        """Export the current values; NaN leaves the last one standing."""
        for name, value in values.items():
            if name not in self._exported:
                kind = Counter if name in TOTALS else Gauge
                text = f"{name.replace('_', ' ')} of the run"
                self._exported[name] = kind(f"onestep_md_{name}", description=text)
            metric = self._exported[name]
            if isinstance(metric, Counter):
                rise, self._totals[name] = value - self._totals[name], value
                if rise > 0:
                    metric.inc(rise)
            elif not math.isnan(value):
                metric.set(value)
