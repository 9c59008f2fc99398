"""VMs to be told of themselves, for tests."""

from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv4Network, IPv6Network

from hypothesis import strategies as st

from common.schemas.network import NetworkRequest
from common.schemas.port import Port, eui64
from common.schemas.vm import Specs, VmRequest
from ucloud_meta.instance import Instance, describe

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ZONE = "cloud-1"
KEYS = ("ssh-ed25519 AAAAC3Nza ann@laptop", "ssh-rsa AAAAB3Nza")
USER_DATA = "#cloud-config\npackages: [htop]\n"

INNER = NetworkRequest(
    uuid="net-1",
    owner="ann",
    name="inner",
    vni=7,
    prefix=IPv6Network("2001:db8:7::/64"),
    ipv4=IPv4Network("10.7.0.0/24"),
    mtu=1430,
    created_at=NOW,
)
OUTER = NetworkRequest(
    uuid="net-2", owner="ann", name="outer", vni=8, prefix=IPv6Network("2001:db8:8::/64"), created_at=NOW
)
NETWORKS = {network.uuid: network for network in (INNER, OUTER)}


def port(number: int, network: NetworkRequest, ipv4: str | None = None, *prefixes: str) -> Port:
    """A port on a network."""
    port_id = f"{number:010x}"
    return Port(
        id=port_id,
        network=network.uuid,
        ipv6=eui64(network.prefix, port_id),
        ipv4=IPv4Address(ipv4) if ipv4 else None,
        prefixes=tuple(IPv6Network(prefix) for prefix in prefixes),
    )


def request(
    *ports: Port, name: str = "web", hostname: str | None = None, ssh_keys: tuple[str, ...] = (), user_data: str = ""
) -> VmRequest:
    """The request for a VM."""
    return VmRequest(
        uuid=f"uuid-of-{name}",
        owner="ann",
        name=name,
        specs=Specs.of(cpu=1, ram_mib=64, ssd_mib=1),
        image="image-1",
        created_at=NOW,
        ports=ports,
        ssh_keys=ssh_keys,
        user_data=user_data,
        hostname=hostname,
    )


def instance(vm: VmRequest) -> Instance:
    """The VM of a request, whose networks are all known."""
    described = describe(vm, NETWORKS, ZONE)
    assert described
    return described


WEB = request(
    port(1, INNER, "10.7.0.5", "2001:db8:100::/56"), port(2, OUTER), ssh_keys=KEYS, user_data=USER_DATA, hostname="www"
)
BARE = request(name="bare")

TEXTS = st.text(alphabet=st.characters(codec="utf-8"))
HOSTNAMES = st.from_regex(
    r"[a-z0-9]([a-z0-9-]{0,9}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,9}[a-z0-9])?){0,3}", fullmatch=True
)
