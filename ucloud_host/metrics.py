"""What an operator reads of the judge; the figures of the elected one count."""

from prometheus_client import Counter, Gauge, Histogram

from common.metrics import Metrics

_FOUND_AFTER_S = (1, 2, 3, 4, 6, 8, 12, 20, 40, 60, 300, 1800, 7200)


class JudgeMetrics:
    """Counts of the judge's work."""

    def __init__(self, common: Metrics) -> None:
        """`common` are those that all daemons have."""
        self.common = common
        registry = common.registry
        self.verdicts = Gauge("ucloud_host_verdicts", "Hosts that are silent or dead", ["sentence"], registry=registry)
        self.limit = Gauge(
            "ucloud_fence_limit_reached", "1 while too many hosts are silent to fence any", registry=registry
        )
        self.answers = Counter("ucloud_fence_answers", "What fences said", ["fence", "answer"], registry=registry)
        self.found_dead_seconds = Histogram(
            "ucloud_host_found_dead_seconds",
            "Time from a host's silence to the verdict that it is dead",
            registry=registry,
            buckets=_FOUND_AFTER_S,
        )
