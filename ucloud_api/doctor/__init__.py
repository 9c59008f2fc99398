"""What is wrong with the cloud, as far as etcd, its members and the hosts can tell.

`snapshot` reads, `*_checks` judge (pure), `inquiry` asks the hosts, `routes` answers and mends. It changes nothing
unless it is asked to, and then only what nothing rests on: names, charges, notes of what is in use or held, and
statuses that are left over. It must never remove a placement, a disk or a guest.
"""
