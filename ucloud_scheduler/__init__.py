"""ucloud_scheduler: gives each requested VM the placement it should have.

Watches requests for VMs, placements, the VMs' statuses, and the hosts with their statuses, signs of life and verdicts.
Writes placements, and what keeps a VM from being placed or resized (`/v1/status/vm/-/<vm>`: PENDING, with the reason);
removes the statuses of VMs on dead hosts as it places them elsewhere; removes a VM's request, with what it was charged,
when nothing of the VM is left. One instance is elected and works; the others keep their caches warm.

It must never order a second host to run a VM before the first one said that it has no guest any more, unless the first
is DEAD and its placement goes in the same transaction; nor write anything without the compare that fences its
leadership; nor remove what it can't read or did not expect.
"""
