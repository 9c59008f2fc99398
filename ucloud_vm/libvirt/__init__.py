"""The hypervisor behind libvirt: how a machine is described to it, run, moved to another host, and found again."""
