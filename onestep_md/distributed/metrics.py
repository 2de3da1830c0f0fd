"""Numbers of a run for Ray's dashboard and Prometheus, under names that begin with onestep_md_.

Ray exports them where `ray[default]` is installed and otherwise drops them; `metrics.jsonl` is
written in any case.
"""

import math

from ray.util.metrics import Counter, Gauge

TOTALS = ("evaluations", "jobs_redispatched")  # never fall: Prometheus takes rates of them


class RunMetrics:
    """Makes a counter or a gauge for every name."""

    def __init__(self):
        self._counters: dict[str, Counter] = {}
        self._gauges: dict[str, Gauge] = {}
        self._totals = dict.fromkeys(TOTALS, 0.0)

    def publish(self, values: dict[str, float]) -> None:
        """Export the current values; NaN leaves the last one standing."""
        for name, value in values.items():
            full, text = f"onestep_md_{name}", f"{name.replace('_', ' ')} of the run"
            if name in TOTALS:
                if name not in self._counters:
                    self._counters[name] = Counter(full, description=text)
                rise, self._totals[name] = value - self._totals[name], value
                if rise > 0:
                    self._counters[name].inc(rise)
            else:
                if name not in self._gauges:
                    self._gauges[name] = Gauge(full, description=text)
                if not math.isnan(value):
                    self._gauges[name].set(value)
