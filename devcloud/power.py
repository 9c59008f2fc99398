"""The power of a host: cut, and everything on it ends at once; back, and its daemons are started as after a boot."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from devcloud import processes
from devcloud.cloud import Cloud
from devcloud.errors import DevcloudError


@contextmanager
def cut(cloud: Cloud, host: str) -> Iterator[None]:
    """Within, no process of `host` runs: no daemon, no libvirtd, no guest. Afterwards the power is back.

    The programs of the other hosts run on, but none that ends meanwhile is started anew.
    """
    if (supervisord := cloud.services.pid()) is None:
        raise DevcloudError(f"cloud {cloud.name} does not run")
    processes.freeze(supervisord)
    try:
        while pids := set(filter(processes.is_alive, cloud.network.host_pids(host))):
            processes.send(pids, signal.SIGKILL)
            processes.wait_until_gone(pids, timeout_s=10)
        yield
    finally:
        processes.send([supervisord], signal.SIGCONT)
