"""The records that live in etcd: frozen pydantic models, one module per kind.

Each record carries the version it was written with. A reader takes older versions (`Record.upgrade`) and ignores
fields that a newer daemon has added, so that daemons of two versions can run side by side.
"""
