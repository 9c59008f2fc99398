"""ucloud_firewall: each port of a VM on this host sends and receives what it may, and nothing else.

Watches `/v1/placement/<host>/`, the security groups that ports here name, with the members of groups that their rules
name, and the kernel: its ruleset, its links. Reads each network once. Writes nothing to etcd; counters are metrics.

It must never leave a moment in which a port that it does not know passes anything, whether it starts, reloads, dies
or is told of a new port; nor touch a table that is not its own.
"""
