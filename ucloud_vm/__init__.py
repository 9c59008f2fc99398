"""ucloud_vm: makes the VMs that are ordered to this host exist in the ordered state, and no others.

Watches `/v1/placement/<host>/`, the hypervisor, and the kernel for bridges. Reads `/v1/network/<network>`, once, of
those that its VMs have ports on. Writes `/v1/status/vm/<host>/<vm>`. Answers for the consoles of each VM over HTTP,
beside /healthz. Makes the seed disks of VMs that want one, which may hold secrets: no log is told what is on them.

It must never start a VM that no placement orders to run here, or one that is on its way to another host; never start or
take one before the bridges of its networks are up, nor make or change a bridge; never touch a domain without ucloud's
metadata; never remove a disk unless its VM is to be deleted, or has taken it along; and never disturb a guest because
it itself, libvirtd or etcd was away.
"""
