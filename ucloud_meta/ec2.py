"""The paths of EC2's instance metadata, as far as cloud-init and its like read them. Pure.

All versions that cloud-init asks for are one and the same: what EC2 added to each is either here or, as with EC2, not
there for this VM.
"""

from collections.abc import Iterator

from ucloud_meta.instance import Instance, Nic
from ucloud_meta.tree import Directory, File

VERSIONS = ("2009-04-04", "2016-09-02", "2018-09-24", "2021-03-23", "latest")


def versions(instance: Instance) -> dict[str, Directory]:
    """What is below each version."""
    entries: dict[str, Directory | File] = {"meta-data": _meta_data(instance)}
    if instance.user_data:
        entries["user-data"] = File(instance.user_data)
    # Unlike below meta-data, EC2 lists no slashes here.
    version = Directory(entries, listing=tuple(entries))
    return dict.fromkeys(VERSIONS, version)


def _meta_data(instance: Instance) -> Directory:
    entries: dict[str, Directory | File] = {
        "ami-id": File(instance.image),
        "ami-launch-index": File("0"),
        "hostname": File(instance.hostname),
        "instance-id": File(instance.uuid),
        "local-hostname": File(instance.hostname),
        "placement": Directory({"availability-zone": File(instance.zone)}),
    }
    if instance.nics:
        macs = {nic.port.mac: _interface(instance, number, nic) for number, nic in enumerate(instance.nics)}
        first = instance.nics[0].port
        entries["ipv6"] = File(str(first.ipv6))
        if first.ipv4:
            entries["local-ipv4"] = File(str(first.ipv4))
        entries["mac"] = File(first.mac)
        entries["network"] = Directory({"interfaces": Directory({"macs": Directory(macs)})})
    if instance.ssh_keys:
        entries["public-keys"] = _public_keys(instance)
    return Directory(dict(sorted(entries.items())))


def _public_keys(instance: Instance) -> Directory:
    numbered = list(enumerate(instance.named_keys()))
    return Directory(
        {str(number): Directory({"openssh-key": File(f"{key}\n")}) for number, (_, key) in numbered},
        listing=tuple(f"{number}={name}" for number, (name, _) in numbered),
    )


def _interface(instance: Instance, number: int, nic: Nic) -> Directory:
    return Directory(dict(sorted((name, File(text)) for name, text in _interface_texts(instance, number, nic))))


def _interface_texts(instance: Instance, number: int, nic: Nic) -> Iterator[tuple[str, str]]:
    port, network = nic.port, nic.network
    yield "device-number", str(number)
    yield "interface-id", port.id
    yield "ipv6s", str(port.ipv6)
    yield "local-hostname", instance.hostname
    yield "mac", port.mac
    yield "owner-id", instance.owner
    yield "subnet-id", network.uuid
    yield "subnet-ipv6-cidr-blocks", str(network.prefix)
    if port.prefixes:
        yield "ipv6-prefix", "\n".join(map(str, port.prefixes))
    if port.ipv4:
        yield "local-ipv4s", str(port.ipv4)
    if port.ipv4 and network.ipv4:
        yield "subnet-ipv4-cidr-block", str(network.ipv4)
