"""What the kernel counted, for Prometheus; read when somebody asks."""

import logging
from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from common.errors import UcloudError
from ucloud_firewall.kernel import Kernel
from ucloud_firewall.nft_static import REASONS

_log = logging.getLogger(__name__)


class Counters(Collector):
    """The counters of the ports, and of what belongs to none."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._passed: dict[str, int] = {}

    def collect(self) -> Iterator[Metric]:
        """See Collector."""
        passed = CounterMetricFamily(
            "ucloud_firewall_passed_frames", "Frames of a port's guest that passed", labels=["port"]
        )
        dropped = CounterMetricFamily(
            "ucloud_firewall_dropped_frames",
            "Frames of a port's guest (reason in: to it) that were dropped",
            labels=["port", "reason"],
        )
        stray = CounterMetricFamily(
            "ucloud_firewall_stray_frames", "Frames dropped that belong to no port known here", labels=["reason"]
        )
        try:
            refused = {reason: self._kernel.counts(f"dropped_{reason}") for reason in REASONS}
            sent = self._kernel.counts("leaving")
            unclaimed = self._kernel.named_counters()
        except UcloudError as error:
            _log.warning("can't read the counters: %s", error)
        else:
            for tap, frames in sent.items():
                passed.add_metric([_port(tap)], self._passed_of(tap, frames - refused["out"].get(tap, 0)))
            self._passed = {tap: count for tap, count in self._passed.items() if tap in sent}
            for reason, taps in refused.items():
                for tap, frames in taps.items():
                    dropped.add_metric([_port(tap), reason], frames)
            for name, frames in unclaimed.items():
                stray.add_metric([name], frames)
        yield from (passed, dropped, stray)

    def describe(self) -> list[Metric]:
        """Nothing: the registry need not read the kernel to learn the names."""
        return []

    def _passed_of(self, tap: str, frames: int) -> int:
        """Two sets are read one after the other: what is told must not go down for that, unless it begins anew."""
        before = self._passed.get(tap, 0)
        self._passed[tap] = max(frames, before) if frames > before // 2 else max(frames, 0)
        return self._passed[tap]


def _port(tap: str) -> str:
    return tap.removeprefix("tap")
