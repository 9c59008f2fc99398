"""Stores whose first connection goes where a test wants it."""

from common.store import EtcdOptions, Store


def connected_to(endpoints: tuple[str, ...]) -> Store:
    """A store whose first connection goes to the first endpoint."""
    for _ in range(100):
        store = Store(EtcdOptions(endpoints))
        if store.endpoint == endpoints[0]:
            return store
        store.close()
    raise AssertionError("the store never begins with the first endpoint")
