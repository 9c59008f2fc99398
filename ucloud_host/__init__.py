"""ucloud_host: registers a VM host, keeps its sign of life, guards it, and judges the others.

Writes `/v1/status/host/<host>` (what was measured: capacity, addresses, versions) and, from a process of its own
(`ucloud-host-alive`), the lease-bound `/v1/alive/<host>` with what stays of it, `/v1/status/alive/<host>`. Another
process (`ucloud-host-guard`) ends the HA guests of a host that has lost touch. The one that is elected judge watches
both, `/v1/status/host/` and `/v1/host/`, asks the fences, and writes `/v1/verdict/`.

It must never write the admin's word on a host (`/v1/host/<host>`), nor report a capacity that was not measured, nor
find a host dead of which no fence is sure.
"""
