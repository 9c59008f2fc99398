"""What etcd says of itself in /metrics: how much it was asked for, by kind. Source: etcd's "Metrics" page."""

from collections.abc import Mapping

import requests
from prometheus_client.parser import text_string_to_metric_families

READS, WRITES, LEASES, PROGRESS = "reads", "transactions and writes", "lease keep-alives", "watch messages received"
_HANDLED = "grpc_server_handled_total"
_RECEIVED = "grpc_server_msg_received_total"
_KINDS = {
    (_HANDLED, "Range"): READS,
    (_HANDLED, "Txn"): WRITES,
    (_HANDLED, "Put"): WRITES,
    (_HANDLED, "DeleteRange"): WRITES,
    (_RECEIVED, "LeaseKeepAlive"): LEASES,
    (_RECEIVED, "Watch"): PROGRESS,
}


def read(client_url: str) -> Mapping[str, float]:
    """How often each of the four kinds was asked for since etcd's start."""
    counts = dict.fromkeys((READS, WRITES, LEASES, PROGRESS), 0.0)
    text = requests.get(f"{client_url}/metrics", timeout=10).text
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            kind = _KINDS.get((sample.name, sample.labels.get("grpc_method", "")))
            if kind:
                counts[kind] += sample.value
    return counts
