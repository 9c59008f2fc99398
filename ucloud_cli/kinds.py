"""VMs, images, networks, security groups, hosts, users and projects as the client shows them."""

from enum import StrEnum
from operator import itemgetter

from common.schemas.host import HostState
from common.schemas.image import ImageActual
from common.schemas.network import NetworkActual
from common.schemas.snapshot import SnapshotActual
from common.schemas.vm import Actual, Requested
from ucloud_cli.goals import describe
from ucloud_cli.kind import Filter, Kind, complete_names
from ucloud_cli.output import Column, last_part, local_time, size, yes
from ucloud_cli.placing import groups, labels
from ucloud_cli.problems import Resource

AMOUNTS = ("vms", "cpu", "ram", "ssd", "hdd", "networks", "security_groups")
"""What a quota limits."""
SIZES = ("ram", "ssd", "hdd")
"""Of these, what has a unit."""


def _values(states: type[StrEnum]) -> tuple[str, ...]:
    return tuple(each.value for each in states)


def _amount(what: str, value: object) -> str:
    return "" if value is None else size(value) if what in SIZES else str(value)


def _ordered(host: Resource, what: str) -> str:
    """How much of something is ordered from a host, and how much there is: "3/8"."""
    capacity = host["capacity"]
    return f"{_amount(what, host['ordered'][what])}/{_amount(what, capacity[what]) if capacity else '?'}"


def _verdict(host: Resource) -> Resource:
    """What is held of a host without a sign of life; nothing of one that is alive, or of an older API."""
    verdict: Resource = host.get("verdict") or {}
    return verdict


def used(user: Resource, what: str) -> str:
    """How much of something is charged to a user, and how much may be: "3/8"; "3" where there is no limit."""
    # An older API says nothing of some.
    of = f"/{_amount(what, user['quota'].get(what))}" if user["quota"] else ""
    return f"{_amount(what, user['used'].get(what))}{of}".strip("/")


def _source(user: Resource) -> str:
    """Who says that a user is there; an older API does not tell."""
    return str(user.get("source", "embedded"))


USER = Kind(
    name="user",
    noun="user",
    key="name",
    columns={
        "NAME": Column(itemgetter("name")),
        "REALM": Column(itemgetter("realm")),
        "SOURCE": Column(_source),
        "ADMIN": Column(lambda user: yes(user["is_admin"])),
        "ENABLED": Column(lambda user: "yes" if user["enabled"] else "no"),
        "VMS": Column(lambda user: used(user, "vms")),
        "CPU": Column(lambda user: used(user, "cpu")),
        "RAM": Column(lambda user: used(user, "ram")),
        "SSD": Column(lambda user: used(user, "ssd")),
        "HDD": Column(lambda user: used(user, "hdd")),
        "NETWORKS": Column(lambda user: used(user, "networks"), wide=True),
        "GROUPS": Column(lambda user: used(user, "security_groups"), wide=True),
        "CREATED": Column(lambda user: local_time(user["created_at"]), wide=True),
    },
    fields={
        "name": itemgetter("name"),
        "realm": itemgetter("realm"),
        "source": _source,
        "admin": lambda user: "yes" if user["is_admin"] else "no",
        "enabled": lambda user: "yes" if user["enabled"] else "no",
        "quota": lambda user: "" if user["quota"] else "no limit",
        "vms": lambda user: used(user, "vms"),
        "cpu": lambda user: used(user, "cpu"),
        "ram": lambda user: used(user, "ram"),
        "ssd": lambda user: used(user, "ssd"),
        "hdd": lambda user: used(user, "hdd"),
        "networks": lambda user: used(user, "networks"),
        "security groups": lambda user: used(user, "security_groups"),
        "created": lambda user: local_time(user["created_at"]),
    },
)

PROJECT = Kind(
    name="project",
    noun="project",
    key="name",
    columns={
        "NAME": Column(itemgetter("name")),
        "ROLE": Column(itemgetter("role")),
        "MEMBERS": Column(lambda project: len(project["members"])),
        "VMS": Column(lambda project: used(project, "vms")),
        "CPU": Column(lambda project: used(project, "cpu")),
        "RAM": Column(lambda project: used(project, "ram")),
        "SSD": Column(lambda project: used(project, "ssd")),
        "HDD": Column(lambda project: used(project, "hdd")),
        "CREATED": Column(lambda project: local_time(project["created_at"]), wide=True),
    },
    fields={
        "name": itemgetter("name"),
        "role": itemgetter("role"),
        "members": lambda project: "\n".join(f"{each['user']}: {each['role']}" for each in project["members"]),
        "quota": lambda project: "" if project["quota"] else "no limit",
        "vms": lambda project: used(project, "vms"),
        "cpu": lambda project: used(project, "cpu"),
        "ram": lambda project: used(project, "ram"),
        "ssd": lambda project: used(project, "ssd"),
        "hdd": lambda project: used(project, "hdd"),
        "created": lambda project: local_time(project["created_at"]),
    },
)

HOST = Kind(
    name="host",
    noun="host",
    key="name",
    columns={
        "NAME": Column(itemgetter("name")),
        "STATE": Column(itemgetter("state")),
        "STATUS": Column(itemgetter("status")),
        "VMS": Column(itemgetter("vms")),
        "CPU": Column(lambda host: _ordered(host, "cpu")),
        "RAM": Column(lambda host: _ordered(host, "ram")),
        "SSD": Column(lambda host: _ordered(host, "ssd")),
        "HDD": Column(lambda host: _ordered(host, "hdd")),
        "HYPERVISOR": Column(itemgetter("hypervisor")),
        "ADDRESSES": Column(lambda host: " ".join(host["addresses"]), wide=True),
    },
    fields={
        "name": itemgetter("name"),
        "state": itemgetter("state"),
        "status": itemgetter("status"),
        "since": lambda host: local_time(_verdict(host).get("since")),
        "waits for": lambda host: _verdict(host).get("waits_for"),
        "fenced by": lambda host: _verdict(host).get("fenced_by"),
        "fences": lambda host: "\n".join(f"{name}: {said}" for name, said in _verdict(host).get("answers", {}).items()),
        "vms": itemgetter("vms"),
        "cpu": lambda host: _ordered(host, "cpu"),
        "ram": lambda host: _ordered(host, "ram"),
        "ssd": lambda host: _ordered(host, "ssd"),
        "hdd": lambda host: _ordered(host, "hdd"),
        "free": lambda host: ", ".join(f"{what} {size(free)}" for what, free in host.get("free", {}).items() if free),
        "overcommit": lambda host: ", ".join(f"{what} {factor}" for what, factor in host["overcommit"].items()),
        "labels": lambda host: labels(host.get("labels", {})),
        "tenants": lambda host: ", ".join(host.get("tenants", ())),
        "addresses": lambda host: " ".join(host["addresses"]),
        "hypervisor": itemgetter("hypervisor"),
        "versions": lambda host: "\n".join(f"{what} {version}" for what, version in sorted(host["versions"].items())),
    },
)

_OWNER = Filter("Only what this user, or project:NAME, has.", complete=complete_names(USER))


def _made_from(image: Resource) -> object:
    source = image.get("source")
    return f"{source['vm_name']}@{source['name']}" if source else image["file"]


IMAGE = Kind(
    name="image",
    noun="image",
    columns={
        "NAME": Column(itemgetter("name")),
        "UUID": Column(itemgetter("uuid"), wide=True),
        "OWNER": Column(itemgetter("owner")),
        "PUBLIC": Column(lambda image: yes(image.get("public"))),
        "STATUS": Column(itemgetter("status")),
        "SIZE": Column(lambda image: size(image["virtual_size"]) if image["virtual_size"] else ""),
        "FILE": Column(_made_from),
        "MIN RAM": Column(lambda image: size(image["min_ram"]) if image.get("min_ram") else "", wide=True),
        "MIN DISK": Column(lambda image: size(image["min_disk"]) if image.get("min_disk") else "", wide=True),
        "FIRMWARE": Column(lambda image: image.get("firmware"), wide=True),
        "STORE": Column(lambda image: image.get("store"), wide=True),
        "PROTECTED": Column(lambda image: yes(image.get("protected")), wide=True),
        "CREATED": Column(lambda image: local_time(image["created_at"]), wide=True),
        "REASON": Column(itemgetter("reason")),
    },
    fields={
        **{name: itemgetter(name) for name in ("name", "uuid", "owner")},
        "file": itemgetter("file"),
        "made from": lambda image: _made_from(image) if image.get("source") else "",
        "public": lambda image: "yes" if image.get("public") else "no",
        "protected": lambda image: "yes" if image.get("protected") else "no",
        "status": lambda image: describe(image | {"reason": ""}),
        "reason": itemgetter("reason"),
        "requested": itemgetter("requested"),
        "least ram": lambda image: size(image["min_ram"]) if image.get("min_ram") else "",
        "least disk": lambda image: size(image["min_disk"]) if image.get("min_disk") else "",
        "firmware": lambda image: image.get("firmware"),
        "store": lambda image: image.get("store"),
        "size": lambda image: size(image["virtual_size"]) if image["virtual_size"] else "",
        "file size": lambda image: f"{image['file_size_bytes']} bytes" if image["file_size_bytes"] else "",
        "sha256": itemgetter("sha256"),
        "created": lambda image: local_time(image["created_at"]),
    },
    filters={
        "owner": _OWNER,
        "status": Filter("Only images in this state.", values=_values(ImageActual)),
    },
)


def rule_text(rule: Resource, names: Resource) -> str:
    """A rule of a security group in words: "in tcp 443 from 2001:db8::/32". `names` are those of groups, by uuid."""
    ports = "-".join(str(port) for port in dict.fromkeys((rule["first_port"], rule["last_port"])) if port)
    way = "from" if rule["direction"] == "in" else "to"
    group = f"group {names.get(rule['group'], rule['group'])}" if rule["group"] else ""
    words = (rule["direction"], rule["protocol"], ports, way, rule["prefix"] or group or "anywhere")
    return " ".join(word for word in words if word)


def _on_host(seen: Resource) -> str:
    """What a host has of a network, in a line."""
    told = f"mtu {seen['mtu']}" if seen["status"] == NetworkActual.ACTIVE else seen["reason"]
    return "  ".join((seen["host"], seen["status"], told)).rstrip()


NETWORK = Kind(
    name="network",
    noun="network",
    columns={
        "NAME": Column(itemgetter("name")),
        "UUID": Column(itemgetter("uuid"), wide=True),
        "OWNER": Column(itemgetter("owner")),
        "STATUS": Column(lambda network: network.get("status")),
        "PREFIX": Column(itemgetter("prefix")),
        "IPV4": Column(itemgetter("ipv4")),
        "ISOLATED": Column(lambda network: yes(network["isolated"])),
        "PUBLIC": Column(lambda network: yes(network["public"])),
        "REASON": Column(lambda network: network.get("reason"), wide=True),
        "VNI": Column(itemgetter("vni"), wide=True),
        "MTU": Column(itemgetter("mtu"), wide=True),
        "CREATED": Column(lambda network: local_time(network["created_at"]), wide=True),
    },
    fields={
        **{name: itemgetter(name) for name in ("name", "uuid", "owner")},
        "status": lambda network: network.get("status"),
        "reason": lambda network: network.get("reason"),
        "hosts": lambda network: "\n".join(map(_on_host, network.get("hosts") or ())),
        **{name: itemgetter(name) for name in ("prefix", "ipv4", "vni")},
        "mtu": lambda network: network["mtu"] or "what the hosts' network takes",
        "isolated": lambda network: "yes" if network["isolated"] else "no",
        "public": lambda network: "yes" if network["public"] else "no",
        "created": lambda network: local_time(network["created_at"]),
    },
    filters={"owner": _OWNER},
)

SECURITY_GROUP = Kind(
    name="security-group",
    noun="security group",
    columns={
        "NAME": Column(itemgetter("name")),
        "UUID": Column(itemgetter("uuid"), wide=True),
        "OWNER": Column(itemgetter("owner")),
        "RULES": Column(lambda group: "; ".join(rule_text(rule, group["group_names"]) for rule in group["rules"])),
        "CREATED": Column(lambda group: local_time(group["created_at"]), wide=True),
    },
    fields={
        **{name: itemgetter(name) for name in ("name", "uuid", "owner")},
        "rules": lambda group: "\n".join(rule_text(rule, group["group_names"]) for rule in group["rules"]),
        "created": lambda group: local_time(group["created_at"]),
    },
    filters={"owner": _OWNER},
)


def _port(port: Resource) -> str:
    """A VM's port in a line."""
    groups = [group["name"] or group["uuid"] for group in port["security_groups"]]
    return "  ".join(
        (
            port["network"]["name"] or port["network"]["uuid"],
            *filter(None, (port["ipv6"], port["ipv4"], *port["prefixes"])),
            port["mac"],
            f"port {port['id']}",
            *([f"groups {', '.join(groups)}"] if groups else []),
        )
    )


def _move(move: Resource | None) -> str:
    """Where a VM is on its way to, or why it did not get there."""
    if move and move["to"]:
        return f"to {move['to']}, {move['percent']} %{'' if move['live'] else ', while it is off'}"
    return f"failed: {move['failure']}" if move and move["failure"] else ""


def _snapshot(each: Resource) -> str:
    """A snapshot of a VM in a line."""
    told = local_time(each["taken_at"]) if each["status"] == SnapshotActual.READY else each["reason"]
    return "  ".join(filter(None, (each["name"], each["status"], told)))


def _rollback(wish: Resource | None) -> str:
    """To what a VM was rolled back last."""
    return f"to {wish['name']}{', yet to be done' if wish['pending'] else ''}" if wish else ""


VM = Kind(
    name="vm",
    noun="VM",
    columns={
        "NAME": Column(itemgetter("name")),
        "UUID": Column(itemgetter("uuid"), wide=True),
        "OWNER": Column(itemgetter("owner")),
        "STATUS": Column(itemgetter("status")),
        "REQUESTED": Column(itemgetter("requested"), wide=True),
        "HOST": Column(lambda vm: last_part(vm["hostname"])),
        "CPU": Column(lambda vm: vm["specs"]["cpu"]),
        "RAM": Column(lambda vm: size(vm["specs"]["ram"])),
        "SSD": Column(lambda vm: size(vm["specs"]["ssd"])),
        "HDD": Column(lambda vm: size(vm["specs"]["hdd"]), wide=True),
        "IMAGE": Column(lambda vm: vm["image_name"] or vm["image"]),
        "ADDRESSES": Column(lambda vm: " ".join(vm["addresses"])),
        "NETWORKS": Column(
            lambda vm: " ".join(dict.fromkeys(str(port["network"]["name"]) for port in vm.get("ports", ()))), wide=True
        ),
        "PROTECTED": Column(lambda vm: yes(vm.get("protected")), wide=True),
        "RESTART": Column(lambda vm: "needed" if vm.get("restart_needed") else "", wide=True),
        "CREATED": Column(lambda vm: local_time(vm["created_at"]), wide=True),
        "CHANGED": Column(lambda vm: local_time(vm.get("changed_at")), wide=True),
        "REASON": Column(itemgetter("reason")),
    },
    fields={
        **{name: itemgetter(name) for name in ("name", "uuid", "owner", "status", "reason", "requested")},
        "host": lambda vm: last_part(vm["hostname"]),
        "cpu": lambda vm: vm["specs"]["cpu"],
        "ram": lambda vm: size(vm["specs"]["ram"]),
        "ssd": lambda vm: size(vm["specs"]["ssd"]),
        "hdd": lambda vm: size(vm["specs"]["hdd"]),
        "disks": lambda vm: "\n".join(
            f"{disk['serial']:8}  {disk['kind']}  {size(disk['size'])}" for disk in vm.get("disks", ())
        ),
        "restart": lambda vm: "needed: it was resized" if vm.get("restart_needed") else "",
        "firmware": lambda vm: vm["specs"].get("firmware"),
        "image": lambda vm: f"{vm['image_name'] or '(deleted)'}  {vm['image']}",
        "addresses": lambda vm: " ".join(vm["addresses"]),
        "networks": lambda vm: "\n".join(map(_port, vm.get("ports", ()))),
        "guest's name": lambda vm: vm.get("guest_hostname"),
        "ssh keys": lambda vm: "\n".join(vm.get("ssh_keys", ())),
        "seed disk": lambda vm: yes(vm.get("seed_disk")),
        "protected": lambda vm: "yes" if vm.get("protected") else "no",
        "ha": lambda vm: "yes" if vm.get("ha") else "no",
        "priority": lambda vm: vm.get("priority"),
        "groups": groups,
        "host labels": lambda vm: labels(vm.get("host_labels", {})),
        "reboots": lambda vm: vm.get("reboots"),
        "move": lambda vm: _move(vm.get("move")),
        "snapshots": lambda vm: "\n".join(map(_snapshot, vm.get("snapshots", ()))),
        "rolled back": lambda vm: _rollback(vm.get("rollback")),
        "generation": lambda vm: f"{vm['generation']} (observed: {vm['observed_generation']})",
        "created": lambda vm: local_time(vm["created_at"]),
        "changed": lambda vm: local_time(vm.get("changed_at")),
        "events": lambda vm: "\n".join(f"{local_time(event['at'])}  {event['what']}" for event in vm["events"]),
    },
    filters={
        "owner": _OWNER,
        "status": Filter("Only VMs in this state.", values=_values(Actual)),
        "requested": Filter("Only VMs of which this is wanted.", values=_values(Requested)),
        "host": Filter("Only VMs on this host.", complete=complete_names(HOST)),
        "image": Filter("Only VMs made from this image.", complete=complete_names(IMAGE)),
    },
)

HOST_STATES = _values(HostState)
