"""ucloud_host: registers a VM host and keeps its sign of life.

Watches nothing. Writes `/v1/status/host/<host>` (what was measured: capacity, addresses, versions) and, from a process
of its own (`ucloud-host-alive`), the lease-bound `/v1/alive/<host>`.

It must never write the admin's word on a host (`/v1/host/<host>`), nor report a capacity that was not measured.
"""
