"""The seed of cloud-init's datasource NoCloud that a guest reads by http, where its firmware tells it to. Pure.

It has no word on addresses: who can ask has its own already, by DHCP and as its image does it.
"""

import yaml

from ucloud_meta.instance import Instance
from ucloud_meta.tree import Directory, File


def directory(instance: Instance) -> Directory:
    """What is below /nocloud; empty files, too: cloud-init asks for one that is missing for ten seconds."""
    meta_data: dict[str, object] = {
        "instance-id": instance.uuid,
        "local-hostname": instance.hostname,
        "availability-zone": instance.zone,
    }
    if instance.ssh_keys:
        meta_data["public-keys"] = list(instance.ssh_keys)
    # Width: a line is never folded, for a key in one line is easier to read, for people and for simple parsers.
    text = yaml.safe_dump(meta_data, sort_keys=False, width=1_000_000)
    return Directory({"meta-data": File(text), "user-data": File(instance.user_data), "vendor-data": File("")})
