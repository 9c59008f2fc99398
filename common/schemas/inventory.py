"""What there is on a host, asked for when somebody wants to know: so it costs nothing as long as nobody does."""

from typing import Annotated

from pydantic import Field

from common.schemas.record import Part, Record


class InventoryDoor(Record):
    """`/v1/status/inventory/<host>`: where the host tells, by an HTTP GET of `url` with a bearer token."""

    url: str
    token: Annotated[str, Field(repr=False)]


class Inventory(Part):
    """The host's answer: uuids of VMs and images. None: not asked for, or the store does not answer."""

    guests: frozenset[str] = frozenset()
    """VMs that have a domain of ours in the hypervisor."""
    disks: frozenset[str] | None = None
    """VMs of which there is anything in the host's store."""
    templates: frozenset[str] | None = None
    """Images that are in the host's store."""
    ports: frozenset[str] = frozenset()
    """Ports, by their ids, that have a tap on the host."""
