"""What a VM is told of itself, put together from its request and its networks. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from common.schemas.network import NetworkRequest
from common.schemas.port import Port
from common.schemas.vm import VmRequest


@dataclass(frozen=True)
class Nic:
    """A port with the network that it is on."""

    port: Port
    network: NetworkRequest


@dataclass(frozen=True)
class Instance:
    """A VM as it sees itself."""

    uuid: str
    name: str
    hostname: str
    owner: str
    image: str
    zone: str
    ssh_keys: tuple[str, ...]
    """Lines of authorized_keys, without the newline at their ends."""
    user_data: str
    nics: tuple[Nic, ...]

    def named_keys(self) -> Iterator[tuple[str, str]]:
        """Its ssh keys, each with a name: they have none of their own."""
        return ((f"key-{number}", key) for number, key in enumerate(self.ssh_keys))


def describe(request: VmRequest, networks: Mapping[str, NetworkRequest], zone: str) -> Instance | None:
    """The VM of a request; None if one of its networks is not among `networks`, so that nobody is told half of it."""
    if any(port.network not in networks for port in request.ports):
        return None
    return Instance(
        uuid=request.uuid,
        name=request.name,
        hostname=request.hostname or request.name,
        owner=request.owner,
        image=request.image,
        zone=zone,
        ssh_keys=tuple(line for key in request.ssh_keys if (line := key.strip())),
        user_data=request.user_data,
        nics=tuple(Nic(port, networks[port.network]) for port in request.ports),
    )
