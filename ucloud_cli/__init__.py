"""ucloud_cli: the command line client, `ucloud`.

It turns what a user types into HTTP requests to the API, and the answers into tables, JSON or YAML. It must never touch
etcd or a host, never print a traceback for what a user can cause, and keep stdout for results: progress and errors go
to stderr.
"""
