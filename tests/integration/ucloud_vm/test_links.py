"""Links, as the kernel of a host has them."""

import sys

from tests.integration.ucloud_vm.rig import Rig

_LOOK = """
import subprocess, threading
from common.link_news import LinkNews
from ucloud_vm.links import mtu_of, ports_with_taps

told, stop = threading.Semaphore(0), threading.Event()
news = LinkNews(lambda link: told.release(), told.release)
listener = threading.Thread(target=news.run, args=(stop,))
listener.start()
assert told.acquire(timeout=30)

def ip(command):
    while told.acquire(blocking=False):
        pass
    subprocess.run(["ip", *command.split()], check=True)
    assert told.acquire(timeout=30), command

ip("link add ucbr5 mtu 1430 type bridge")
assert mtu_of("ucbr5") is None
ip("link set ucbr5 up")
assert mtu_of("ucbr5") == 1430
ip("tuntap add mode tap name tapc000000001")
assert ports_with_taps() == {"c000000001"}
ip("link delete tapc000000001")
ip("link delete ucbr5")
assert mtu_of("ucbr5") is None
assert ports_with_taps() == set()
stop.set()
news.close()
listener.join(30)
print("all seen")
"""


def test_links_are_seen_and_their_changes_are_news(host_rig: Rig) -> None:
    assert host_rig.inside(sys.executable, "-c", _LOOK) == "all seen\n"
