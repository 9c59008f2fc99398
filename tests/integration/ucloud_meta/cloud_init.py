"""What cloud-init itself makes of metadata. Runs inside a guest, with Debian's Python and an unpacked cloud-init.

    cloud_init.py ec2|openstack|nocloud FOLDER URL MAC...

FOLDER is cloud-init's own. The last one reads a seed at URL, or, where that is empty, in `seed/nocloud` there. Prints
JSON. The guest's interfaces are said to be called nic0, nic1 and so on, in the order of their MAC addresses.
"""

import json
import sys
from typing import Any

import cloudinit.sources.DataSourceOpenStack  # type: ignore[import-not-found]
from cloudinit import distros, helpers
from cloudinit.net.network_state import parse_net_config_data  # type: ignore[import-not-found]
from cloudinit.sources.DataSourceEc2 import (  # type: ignore[import-not-found]
    CloudNames,
    DataSourceEc2,
    convert_ec2_metadata_network_config,
)
from cloudinit.sources.DataSourceNoCloud import DataSourceNoCloudNet  # type: ignore[import-not-found]
from cloudinit.sources.helpers.openstack import convert_net_json  # type: ignore[import-not-found]

openstack = cloudinit.sources.DataSourceOpenStack


def read(kind: str, folder: str, url: str, macs: list[str]) -> dict[str, Any]:
    """As the datasource of a guest that boots reads it."""
    nics = {mac: f"nic{number}" for number, mac in enumerate(macs)}
    paths = helpers.Paths({"cloud_dir": folder, "run_dir": folder})
    distro = distros.fetch("debian")("debian", {}, paths)
    configuration = {"metadata_urls": [url], "max_wait": 20, "timeout": 5, "strict_id": False}
    settings: dict[str, Any] = {"datasource": dict.fromkeys(("Ec2", "OpenStack"), configuration), "datasource_list": []}
    told: dict[str, Any] = {}
    if kind == "ec2":
        source = DataSourceEc2(settings, distro, paths)
        source._cloud_name = CloudNames.UNKNOWN
        assert source._get_data()
        network = convert_ec2_metadata_network_config(source.metadata["network"], nics)
        told["insists"] = _insists_on_tokens(settings, distro, paths)
        told["zone"] = source.availability_zone
    elif kind == "openstack":
        source = openstack.DataSourceOpenStack(settings, distro, paths)
        openstack.detect_openstack = lambda **_: True  # DMI, which this machine has none of
        assert source._get_data()
        network = convert_net_json(source.network_json, nics)
        told["zone"] = source.metadata["availability_zone"]
        told["ec2"] = source.ec2_metadata
    else:
        settings["datasource"]["NoCloud"] = {"seedfrom": url} if url else {}
        source = DataSourceNoCloudNet(settings, distro, paths)
        assert source._get_data()
        network = source.network_config
    parsed = parse_net_config_data(network) if network else None
    return told | {
        "instance_id": source.get_instance_id(),
        "hostname": str(getattr(source.get_hostname(), "hostname", source.get_hostname())),
        "keys": source.get_public_ssh_keys(),
        "user_data": _text(source.userdata_raw),
        "vendor_data": _text(source.vendordata_raw),
        "network": network,
        "interfaces": [
            {name: each[name] for name in ("name", "mac_address", "subnets")}
            for each in (parsed.iter_interfaces() if parsed else ())
        ],
    }


def _text(read: str | bytes | None) -> str | None:
    return read.decode() if isinstance(read, bytes) else read


def _insists_on_tokens(settings: dict[str, Any], distro: Any, paths: Any) -> bool:
    """Whether it gets along where it believes to be at AWS, and so asks for nothing without a token."""
    source = DataSourceEc2(settings, distro, paths)
    source._cloud_name = CloudNames.AWS
    return bool(source.wait_for_metadata_service() and source._api_token)


if __name__ == "__main__":
    kind, folder, url, *macs = sys.argv[1:]
    print(json.dumps(read(kind, folder, url, macs)))
