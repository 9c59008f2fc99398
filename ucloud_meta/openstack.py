"""The paths of OpenStack's metadata service, in the formats of Nova. Pure.

Addresses are told to be had by DHCP, which answers from the same placement; so what a guest keeps of this stays true.
"""

import json
from collections.abc import Iterator

from common.schemas.network import DNS_V6
from ucloud_meta.instance import Instance
from ucloud_meta.tree import JSON, Directory, File

VERSIONS = ("2015-10-15", "2018-08-27", "latest")
"""Liberty brought network_data.json, Rocky is the last one that cloud-init knows by name."""


def directory(instance: Instance) -> Directory:
    """What is below /openstack."""
    entries: dict[str, File | Directory] = {
        "meta_data.json": _json(_meta_data(instance)),
        "network_data.json": _json(_network_data(instance)),
        "vendor_data.json": _json({}),
    }
    if instance.user_data:
        entries["user_data"] = File(instance.user_data)
    version = Directory(dict(sorted(entries.items())))
    # Clients look for their version among whole lines, so no slashes.
    return Directory(dict.fromkeys(VERSIONS, version), listing=VERSIONS)


def _meta_data(instance: Instance) -> dict[str, object]:
    return {
        "uuid": instance.uuid,
        "name": instance.name,
        "hostname": instance.hostname,
        "availability_zone": instance.zone,
        "launch_index": 0,
        "project_id": instance.owner,
        "public_keys": dict(instance.named_keys()),
        "keys": [{"name": name, "type": "ssh", "data": key} for name, key in instance.named_keys()],
        "meta": {},
        "devices": [],
    }


def _network_data(instance: Instance) -> dict[str, object]:
    return {
        "links": [
            {
                "id": nic.port.tap,
                "vif_id": nic.port.id,
                "type": "tap",
                "mtu": nic.network.mtu,
                "ethernet_mac_address": nic.port.mac,
            }
            for nic in instance.nics
        ],
        "networks": [{"id": f"network{number}", **network} for number, network in enumerate(_networks(instance))],
        "services": [{"type": "dns", "address": str(DNS_V6)}] if instance.nics else [],
    }


def _networks(instance: Instance) -> Iterator[dict[str, str]]:
    for nic in instance.nics:
        yield {"type": "ipv6_dhcp", "link": nic.port.tap, "network_id": nic.network.uuid}
        if nic.port.ipv4:
            yield {"type": "ipv4_dhcp", "link": nic.port.tap, "network_id": nic.network.uuid}


def _json(value: object) -> File:
    return File(json.dumps(value), JSON)
