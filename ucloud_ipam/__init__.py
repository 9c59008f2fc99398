"""ucloud_ipam: tells guests on this host who they are in their networks: addresses, routes, MTU, and names.

Watches `/v1/placement/<host>/` and the kernel's links. Reads `/v1/network/<network>`, and `/v1/address/<network>/` when
it is asked for a name. Answers, for each port here and by its tap alone, router solicitations, DHCPv6, DHCPv4 and DNS.
Writes nothing.

It must never answer anybody about another's port, never let one network learn of another, and never remember a lease:
what a port is told follows from its placement.
"""
