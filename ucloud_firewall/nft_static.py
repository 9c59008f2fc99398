"""The rules that never change: what holds for every port. What is a port's own is in sets that these rules look into.

Frames that a guest sends are looked at before the bridge learns from them; those that go to a guest, as the last thing
before they do. Groups need to know whether a connection is established: br_netfilter shows the bridge's packets to the
inet table, which notes it in a bit of the mark.
"""

import hashlib

TABLE = "ucloud"
FAMILIES = ("bridge", "inet", "arp")

ESTABLISHED = 0x20000000
"""The bit of a packet's mark that says: of a connection that is established, or related to one."""
LOOKED_AT = 0x10000000
"""The bit that says: these rules were there when it passed (second_wall)."""
NO_PORT = "unknown"
STRAY = "stray"
NO_WAY = "isolated"

REASONS = ("mac", "type", "ipv6", "ipv4", "nd", "router", "dhcp", "arp", "out", "in")
"""Why frames of a port are dropped. The kernel adds it to the set `dropped_<reason>` then, and its element counts."""

_METADATA = "{ fe80::a9fe:a9fe, fd00:ec2::253, fd00:ec2::254 }"
_ASKS = "{ nd-router-solicit, mld-listener-report, mld2-listener-report, mld-listener-done }"
"""ICMPv6 that a guest may send before it has an address."""
_METADATA4 = "169.254.169.254"


def _drops() -> str:
    """For each reason a chain that counts for the port and drops. "in" is of the port that it would have gone to."""
    lines = []
    for reason in REASONS:
        name = "oifname" if reason == "in" else "iifname"
        lines += [
            f"  set dropped_{reason} {{ type ifname; size 65535; flags dynamic,timeout; timeout 7d; }}",
            f"  chain drop_{reason} {{",
            f"    update @dropped_{reason} {{ {name} counter }} drop",
            "    drop",  # where the set is full
            "  }",
        ]
    return "\n".join(lines)


_BRIDGE = f"""
  counter {NO_PORT} {{ }}
  set mac {{ type ifname . ether_addr; }}
  set nd_mac {{ typeof iifname . @th,208,48; }}
  set nd {{ typeof iifname . @th,64,128; }}
  set address6 {{ type ifname . ipv6_addr; }}
  set prefix6 {{ type ifname . ipv6_addr; flags interval; }}
  set address4 {{ type ifname . ipv4_addr; }}
  set speaks4 {{ type ifname; }}
  map leaving {{ type ifname : verdict; counter; }}
  map arriving {{ type ifname : verdict; counter; }}
{_drops()}

  chain first {{
    type filter hook prerouting priority -300; policy accept
    meta mark set meta mark & {0xFFFFFFFF ^ ESTABLISHED:#x} | {LOOKED_AT:#x}
    iifname "tap*" goto from_tap
  }}
  chain from_tap {{
    iifname . ether saddr != @mac goto drop_mac
    meta protocol != {{ ip6, ip, arp, 0x8035 }} goto drop_type
    ether daddr & ff:ff:ff:ff:ff:f0 == 01:80:c2:00:00:00 goto drop_type
    ether type vmap {{ ip6 : goto from_ip6, ip : goto from_ip4, arp : goto from_arp, 0x8035 : goto from_rarp }}
    goto drop_type
  }}

  # A header that can't be read, because it comes in a later fragment, matches neither "this" nor "not this".
  chain from_ip6 {{
    meta l4proto ipv6-icmp goto from_icmp6
    meta l4proto udp goto from_udp6
    meta l4proto != {{ ipv6-icmp, udp }} goto source6
    goto drop_ipv6
  }}
  chain from_udp6 {{
    udp sport 547 goto drop_dhcp
    udp sport != 547 goto source6
    frag frag-off 0 goto drop_ipv6
    goto source6
  }}
  chain from_icmp6 {{
    exthdr frag exists goto drop_nd
    icmpv6 type vmap {{
      nd-neighbor-solicit : goto from_ns, nd-neighbor-advert : goto from_na,
      nd-router-advert : goto drop_router, nd-redirect : goto drop_router, mld-listener-query : goto drop_router,
      138 : goto drop_router, 141 : goto drop_nd, 142 : goto drop_nd, 151 : goto drop_router, 153 : goto drop_router }}
    icmpv6 type {_ASKS} ip6 saddr :: accept
    icmpv6 type 0-255 goto source6
    goto drop_nd
  }}
  chain from_ns {{
    ip6 nexthdr != ipv6-icmp goto drop_nd
    ip6 length != {{ 24, 32 }} goto drop_nd
    ip6 length 32 @th,192,16 != {{ 0x0101, 0x0e01 }} goto drop_nd
    ip6 length 32 @th,192,16 0x0101 iifname . @th,208,48 != @nd_mac goto drop_nd
    ip6 saddr :: iifname . @th,64,128 != @nd goto drop_nd
    ip6 saddr :: accept
    goto source6
  }}
  chain from_na {{
    ip6 nexthdr != ipv6-icmp goto drop_nd
    iifname . @th,64,128 != @nd goto drop_nd
    ip6 length != {{ 24, 32 }} goto drop_nd
    ip6 length 32 @th,192,16 != 0x0201 goto drop_nd
    ip6 length 32 iifname . @th,208,48 != @nd_mac goto drop_nd
    iifname . ip6 saddr @address6 accept
    goto drop_ipv6
  }}
  chain source6 {{
    iifname . ip6 saddr @address6 accept
    iifname . ip6 saddr @prefix6 accept
    goto drop_ipv6
  }}

  chain from_ip4 {{
    iifname != @speaks4 goto drop_ipv4
    meta l4proto udp goto from_udp4
    meta l4proto {{ icmp, igmp }} goto from_icmp4
    meta l4proto != {{ udp, icmp, igmp }} goto source4
    goto drop_ipv4
  }}
  chain from_udp4 {{
    udp sport 67 goto drop_dhcp
    ip saddr 0.0.0.0 udp sport 68 udp dport 67 accept
    udp sport != 67 goto source4
    ip frag-off & 0x1fff == 0 goto drop_ipv4
    goto source4
  }}
  chain from_icmp4 {{
    icmp type {{ redirect, router-advertisement }} goto drop_router
    ip protocol igmp ip frag-off & 0x3fff != 0 goto drop_router
    ip protocol igmp @th,0,8 0x11 goto drop_router
    goto source4
  }}
  chain source4 {{
    iifname . ip saddr @address4 accept
    goto drop_ipv4
  }}

  chain from_arp {{
    arp htype != 1 goto drop_arp
    arp ptype != ip goto drop_arp
    arp hlen != 6 goto drop_arp
    arp plen != 4 goto drop_arp
    arp operation != {{ request, reply }} goto drop_arp
    iifname . arp saddr ether != @mac goto drop_arp
    iifname . arp saddr ip @address4 accept
    arp saddr ip 0.0.0.0 arp operation request iifname . arp daddr ip @address4 accept
    goto drop_arp
  }}
  # What QEMU says for a guest that has moved, so that switches learn where it is now: it has no addresses in it.
  chain from_rarp {{
    @nh,0,64 != 0x0001080006040003 goto drop_arp
    iifname . @nh,64,48 != @nd_mac goto drop_arp
    @nh,112,32 != 0 goto drop_arp
    @nh,192,32 != 0 goto drop_arp
    accept
  }}

  # After br_netfilter (0), so that it is known which connections are established.
  chain last_of_sent {{
    type filter hook prerouting priority 100; policy accept
    iifname "tap*" jump sent
  }}
  chain sent {{
    iifname vmap @leaving
    counter name {NO_PORT} drop
  }}
  chain always_out {{
    meta mark & {ESTABLISHED:#x} == {ESTABLISHED:#x} accept
    meta protocol {{ arp, 0x8035 }} accept
    icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert }} accept
    icmpv6 type {_ASKS} accept
    udp dport {{ 67, 547 }} accept
    ip6 daddr {_METADATA} accept
    ip daddr {_METADATA4} accept
  }}
  # Frames for the bridge's own protocols never come by prerouting.
  chain local {{
    type filter hook input priority -300; policy accept
    iifname "tap*" ether daddr & ff:ff:ff:ff:ff:f0 == 01:80:c2:00:00:00 goto drop_type
  }}

  # What this host sends or routes has not come by "first". What came without it is never given the mark further on: it
  # may have come before these rules were there.
  chain of_host {{
    type filter hook output priority -300; policy accept
    meta mark set meta mark | {LOOKED_AT:#x}
  }}
  chain received {{
    type filter hook postrouting priority 200; policy accept
    oifname "tap*" goto to_tap
  }}
  chain to_tap {{
    oifname vmap @arriving
    counter name {NO_PORT} drop
  }}
  chain always_in {{
    meta mark & {ESTABLISHED:#x} == {ESTABLISHED:#x} accept
    meta protocol {{ arp, 0x8035 }} accept
    icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert, nd-router-advert, mld-listener-query }} accept
  }}
"""

_INET = f"""
  counter {STRAY} {{ }}
  counter {NO_WAY} {{ }}
  map zone4 {{ typeof iifname : ct zone; }}
  map zone6 {{ typeof iifname : ct zone; }}
  set routed {{ type ifname; }}
  set bridged {{ type ifname . ifname; }}

  # Before fragments are put together (-400). Routed networks have IPv6 addresses that no other has.
  chain zone_in {{
    type filter hook prerouting priority -450; policy accept
    iifname "tap*" counter name {STRAY} drop
    iifname != "ucbr*" accept
    meta nfproto ipv4 ct zone set iifname map @zone4
    ip6 saddr fe80::/10 ct zone set iifname map @zone4
    ip6 daddr fe80::/10 ct zone set iifname map @zone4
    meta nfproto ipv6 ct zone set iifname map @zone6
  }}
  chain zone_out {{
    type filter hook output priority -450; policy accept
    oifname != "ucbr*" accept
    meta nfproto ipv4 ct zone set oifname map @zone4
    ip6 saddr fe80::/10 ct zone set oifname map @zone4
    ip6 daddr fe80::/10 ct zone set oifname map @zone4
    meta nfproto ipv6 ct zone set oifname map @zone6
  }}
  chain state_in {{
    type filter hook prerouting priority -150; policy accept
    ct state established,related meta mark set meta mark | {ESTABLISHED:#x}
  }}
  chain state_out {{
    type filter hook output priority -150; policy accept
    meta mark set meta mark & {0xFFFFFFFF ^ ESTABLISHED:#x}
    ct state established,related meta mark set meta mark | {ESTABLISHED:#x}
  }}
  chain forwarded {{
    type filter hook forward priority -150; policy accept
    iifname . oifname @bridged accept
    iifname "ucbr*" goto routed_from
    oifname "ucbr*" goto routed_to
  }}
  chain routed_from {{
    meta nfproto ipv4 counter name {NO_WAY} drop
    iifname != @routed counter name {NO_WAY} drop
    oifname "ucbr*" goto routed_to
  }}
  chain routed_to {{
    meta nfproto ipv4 counter name {NO_WAY} drop
    oifname != @routed counter name {NO_WAY} drop
  }}
  # A network without a way out has none to the host's other addresses, either.
  chain delivered {{
    type filter hook input priority -150; policy accept
    iifname "ucbr*" iifname != @routed goto to_host
  }}
  chain to_host {{
    ip6 daddr {_METADATA} accept
    ip6 daddr ff00::/8 accept
    ip daddr {_METADATA4} accept
    counter name {NO_WAY} drop
  }}
"""

_ARP = """
  chain input {
    type filter hook input priority -150; policy accept
    iifname "tap*" drop
  }
"""

_BODIES = {"bridge": _BRIDGE, "inet": _INET, "arp": _ARP}
VERSION = "v_" + hashlib.sha256("".join(_BODIES.values()).encode()).hexdigest()[:12]
"""The name of an empty chain in each table: these very rules were loaded with it."""


def tables() -> str:
    """All tables, without any port, in place of those that are there."""
    lines = []
    for family, body in _BODIES.items():
        lines += [f"table {family} {TABLE} {{ }}", f"delete table {family} {TABLE}"]
        lines += [f"table {family} {TABLE} {{", f"  chain {VERSION} {{ }}", body.strip("\n"), "}"]
    return "\n".join(lines) + "\n"
