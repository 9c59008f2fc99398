"""What every daemon counts, in a registry of its own, for Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


class Metrics:
    """The counters that all daemons have in common; a daemon adds its own to `registry`."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        self.reconcile_seconds = Histogram(
            "ucloud_reconcile_seconds",
            "Time of one look at one object, with its actions",
            registry=self.registry,
            buckets=(0.001, 0.01, 0.1, 0.5, 1, 5, 30),
        )
        self.failures = Counter(
            "ucloud_reconcile_failures_total", "Looks that ended in an error", ["error"], registry=self.registry
        )
        self.queue_length = Gauge("ucloud_queue_length", "Objects that wait to be looked at", registry=self.registry)
        self.malformed = Counter(
            "ucloud_malformed_records_total", "Records in etcd that can't be read", ["prefix"], registry=self.registry
        )
        self.lists = Counter(
            "ucloud_cache_lists_total", "Full listings of a prefix", ["prefix"], registry=self.registry
        )
        self.store_seconds = Histogram(
            "ucloud_store_seconds",
            "Time of a call to etcd, with its repetitions",
            ["call", "outcome"],
            registry=self.registry,
            buckets=(0.001, 0.005, 0.02, 0.1, 0.5, 2, 10),
        )
        self.store_conflicts = Counter(
            "ucloud_store_conflicts_total",
            "Transactions refused: what they rest on had changed",
            registry=self.registry,
        )
        self.watch_reconnects = Counter(
            "ucloud_watch_reconnects_total", "Streams of a watch after its first", ["prefix"], registry=self.registry
        )
        self.leading = Gauge("ucloud_leading", "1 while this instance is the elected one", registry=self.registry)
        self.refused_writes = Counter(
            "ucloud_refused_writes_total", "Writes refused because another instance leads", registry=self.registry
        )
