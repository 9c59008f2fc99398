"""What is loaded in the kernel, and how it becomes what it should be: by differences, each in one transaction.

The tables outlive this process. When it begins it reads them, and writes only what differs. Where there are none it
loads them without any port, so that nothing passes until it is known what may.
"""

import logging
import threading
from collections.abc import Callable, Iterable

from common.errors import TemporaryError, UcloudError
from ucloud_firewall import nft, nft_listing
from ucloud_firewall.kernel import Kernel
from ucloud_firewall.nft_static import FAMILIES
from ucloud_firewall.rights import Batch, Connections, Policy, Renderer, to_forget

_log = logging.getLogger(__name__)


class Wall:
    """The tables of this host. One thread uses it, but for `heal`."""

    def __init__(self, kernel: Kernel, renderer: Renderer, forget: Callable[[Iterable[Connections]], None]) -> None:
        """`forget` has the kernel judge connections anew."""
        self._forget = forget
        self._kernel = kernel
        self._renderer = renderer
        self._lock = threading.Lock()
        self._loaded: Policy | None = None
        """None: what is in the kernel was loaded by another process, or has not all been looked at."""

    def close(self) -> dict[str, int]:
        """Unless tables are there, load them without any port. Returns the zones of the bridges that are in them."""
        with self._lock:
            listing = self._kernel.listing()
            families = {each["table"]["family"] for each in listing if "table" in each}
            if families != set(FAMILIES):
                _log.info("no rules were loaded: none of the ports here passes anything until it is known")
                self._load(Policy())
            zones = nft_listing.content_of(listing).elements.get("zone4", {})
            return {name.strip('"'): int(zone) for name, zone in zones.items()}

    def enforce(self, policy: Policy, is_open_question: Callable[[str], bool]) -> None:
        """Make `policy` what holds. Of a tap that another process knew, and that is an open question, all stays."""
        with self._lock:
            if self._loaded is None:
                self._adopt(policy, is_open_question)
            elif batches := self._renderer.change(self._loaded, policy):
                self._apply(batches)
                outdated = to_forget(self._loaded, policy)
                self._loaded = policy
                self._judge_anew(outdated)
            else:
                self._loaded = policy

    def heal(self) -> bool:
        """Load all of it anew, as somebody else has changed it; False if it is not known yet what that is."""
        with self._lock:
            if self._loaded is None:
                return False
            self._load(self._loaded)
            return True

    def _adopt(self, policy: Policy, is_open_question: Callable[[str], bool]) -> None:
        listing = self._kernel.listing()
        if not nft_listing.is_complete(listing):
            _log.info("the rules are those of another version, or were changed: they are replaced")
            self._load(policy)
            return
        found, wanted = nft_listing.content_of(listing), nft.content_of(policy)
        open_taps = frozenset(tap for tap in nft_listing.taps(found) - policy.ports.keys() if is_open_question(tap))
        if open_taps:
            wanted = nft_listing.with_taps(wanted, found, open_taps)
        text = nft.delta(found, wanted)
        self._apply([Batch("", text)] if text else [])
        _log.info("the rules that were loaded are kept, with %d changes", len(text.splitlines()))
        if not open_taps:
            self._loaded = policy

    def _load(self, policy: Policy) -> None:
        self._kernel.load(self._renderer.load(policy))
        self._kernel.seal()
        self._loaded = policy

    def _judge_anew(self, connections: Iterable[Connections]) -> None:
        """The rules hold already; who can't be parted from what was established loses it when it ends."""
        try:
            self._forget(connections)
        except UcloudError as error:
            _log.warning("connections that may have been cut are not: %s", error)

    def _apply(self, batches: Iterable[Batch]) -> None:
        try:
            self._kernel.load(batches)
        except TemporaryError:
            # What is loaded is not what it was thought to be.
            self._loaded = None
            raise
