"""A frame that came out of a tap, and the frame that answers it, if any. Pure; never raises, whatever the frame is."""

from ucloud_ipam import dhcpv4, dhcpv6, ra
from ucloud_ipam.facts import Facts
from ucloud_ipam.frames import ETHERTYPE_IPV4, ETHERTYPE_IPV6, UDP, read_ethernet, read_ipv4, read_ipv6


def answer(frame: bytes, facts: Facts) -> bytes | None:
    """What to send to the guest that `facts` are about; None: nothing, as it asks for nothing or is not who it says.

    The firewall has not seen the frame yet, so the sender's MAC address is looked at here.
    """
    ethernet = read_ethernet(frame)
    if ethernet is None or ethernet.source != facts.mac:
        return None
    if ethernet.ethertype == ETHERTYPE_IPV4:
        packet4 = read_ipv4(ethernet.payload)
        return dhcpv4.answer(packet4, facts) if packet4 else None
    if ethernet.ethertype != ETHERTYPE_IPV6:
        return None
    packet6 = read_ipv6(ethernet.payload)
    if packet6 is None:
        return None
    return dhcpv6.answer(packet6, facts) if packet6.protocol == UDP else ra.answer(packet6, facts)
