"""What the API counts, over all its worker processes. Source: prometheus_client's multiprocess mode."""

import os

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.multiprocess import MultiProcessCollector

DIRECTORY_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""Names the folder where the workers keep their counts. prometheus_client reads it when it is imported."""


class HttpMetrics:
    """Requests by method, route and status, and how long they took; streams count, their length does not."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.requests = Counter(
            "ucloud_http_requests_total", "Requests answered", ["method", "route", "status"], registry=registry
        )
        self.seconds = Histogram(
            "ucloud_http_request_seconds",
            "Time to answer a request",
            ["method", "route"],
            registry=registry,
            buckets=(0.002, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5),
        )
        # Finding the counters by their labels costs more than to count.
        self._found: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}

    def count(self, method: str, route: str, status: int, took_s: float | None) -> None:
        """A request was answered; `took_s` is None for a stream."""
        found = self._found.get((method, route, status))
        if found is None:
            found = self.requests.labels(method, route, status), self.seconds.labels(method, route)
            self._found[method, route, status] = found
        found[0].inc()
        if took_s is not None:
            found[1].observe(took_s)


def registry_to_show(own: CollectorRegistry) -> CollectorRegistry:
    """The counts of all workers where there are several, else those of this process."""
    if not os.environ.get(DIRECTORY_VARIABLE):
        return own
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return registry
