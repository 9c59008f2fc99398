"""ucloud_api: HTTP in, requests in etcd out; what is requested and what is true, joined for its readers.

Watches what is requested (`/v1/vm`, `/v1/host`, `/v1/image`, `/v1/account`, `/v1/session`) and what is true
(`/v1/placement`, `/v1/status`, `/v1/alive`, `/v1/verdict`). Writes requests, with what common.admission charges for
them, accounts, sessions, and events of who asked for what; when told to, the doctor removes what is left of the gone.

It must never write a placement or a status, never remove what a daemon still has to take down (it only asks for it),
and keep nothing that another of its processes would have to know: any number of them run side by side.
"""
