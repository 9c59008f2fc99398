"""ucloud_net: the networks that VMs on this host are on exist here, and no others.

Watches `/v1/placement/<host>/`, for networks with VMs here `/v1/endpoint/<network>/` where frames are flooded by
unicast, and the kernel (netlink). Reads `/v1/network/<network>`. Writes `/v1/status/network/<host>/<network>` and
`/v1/endpoint/<network>/<host>`. Makes, of each network, a bridge that is its first-hop gateway, a VXLAN link, and the
routes of its prefixes; taps are made by the hypervisor, and put back into their bridge if somebody took them out.

It must never touch a link that is not its own, never join two networks, and never take a network down because it
itself or etcd was away.
"""
