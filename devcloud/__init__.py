"""A whole cloud on one machine, for `make up` and for the tests; no part of the distribution.

It plays what surrounds the daemons on real machines: etcd, the network between hosts (a namespace per host), libvirtd,
and a service manager. The daemons themselves are the real ones, told by settings alone where they are. It must never
reach into them: whatever it needs to know, it asks as a user or an administrator would.
"""
