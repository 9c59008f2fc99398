"""What is counted of questions and answers, for Prometheus. Requests are counted, never logged: they hold secrets."""

from prometheus_client import CollectorRegistry, Counter, Gauge


class Figures:
    """The counters of this daemon."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.answers = Counter(
            "ucloud_meta_answers_total", "Answers to guests, by HTTP status", ["status"], registry=registry
        )
        self.turned_away = Counter(
            "ucloud_meta_turned_away_total",
            "Connections that were ended because their port, or their network, had too many",
            registry=registry,
        )
        self.networks = Gauge("ucloud_meta_networks", "Networks whose guests are answered here", registry=registry)
