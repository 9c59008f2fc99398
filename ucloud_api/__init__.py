"""ucloud_api: HTTP in, requests in etcd out; what is requested and what is true, joined for its readers.

Watches `/v1/vm`, `/v1/placement`, `/v1/status/vm`, `/v1/host`, `/v1/status/host`, `/v1/alive`, `/v1/image` and
`/v1/status/image`. Writes `/v1/vm/<vm>`, `/v1/host/<host>` and `/v1/image/<image>`, with what common.admission charges
for them.

It must never write a placement or a status, never remove what a daemon still has to take down (it only asks for it),
and keep nothing that another of its processes would have to know: any number of them run side by side.
"""
