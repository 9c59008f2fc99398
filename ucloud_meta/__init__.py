"""ucloud_meta: `http://metadata` answers each VM on this host about itself, and nobody else.

Watches `/v1/placement/<host>/`, `/v1/host/<host>` and the kernel (netlink). Reads `/v1/network/<network>`. Listens on
the bridge of each network in use here. Writes nothing.

It must never answer who can't be told by bridge and MAC address to be a port here, never a request that somebody else
has forwarded, and never anything of another VM; and it must never tell a log what it tells a VM.
"""
