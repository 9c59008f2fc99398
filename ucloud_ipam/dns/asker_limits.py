"""How many questions each asker has answered: so many a second, whoever asks beside it. Pure."""

from collections import OrderedDict
from ipaddress import IPv6Address, IPv6Network, ip_address

from ucloud_ipam.bucket import Bucket

_PER_S = 200.0
_AT_ONCE = 400.0
_MOST_ASKERS = 4096
_SITE_BITS = 64
_LINK_LOCAL = IPv6Network("fe80::/10")


class AskerLimits:
    """Counts the askers on one network, whose prefix is `prefix`. The firewall vouches for their addresses."""

    def __init__(self, prefix: IPv6Network) -> None:
        self._prefix = prefix
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()

    def allow(self, who: str, now_s: float) -> bool:
        """Whether `who`, of `count_as`, is answered."""
        bucket = self._buckets.pop(who, None) or Bucket(_PER_S, _AT_ONCE, now_s)
        self._buckets[who] = bucket
        if len(self._buckets) > _MOST_ASKERS:
            self._buckets.popitem(last=False)
        return bucket.take(now_s)

    def count_as(self, address: str) -> str:
        """As whom to count `address`: a port's own as itself, others as their /64.

        A port may have prefixes routed to it as a whole, with more addresses than anybody can count.
        """
        parsed = ip_address(address.partition("%")[0])
        if not isinstance(parsed, IPv6Address) or parsed in self._prefix or parsed in _LINK_LOCAL:
            return str(parsed)
        return str(IPv6Network((parsed, _SITE_BITS), strict=False))
