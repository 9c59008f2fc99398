"""What every ucloud daemon shares: keys, records, the etcd store, the control loop, settings, logs and storage.

Nothing in here knows a daemon; daemons import this package and never one another.
"""
