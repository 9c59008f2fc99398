"""When a request is done, and when it can't be done any more. Pure."""

from collections.abc import Callable

from ucloud_cli.errors import CliError
from ucloud_cli.problems import Resource

Goal = Callable[[Resource | None], bool]
"""Whether it is reached with the resource (None: it is gone); CliError when it can't be reached any more."""

_NOBODY_TO_NOTICE = ("PENDING", "UNKNOWN")
_ARRIVING = ("DEPLOYING", "STARTING", "MIGRATING")


def describe(resource: Resource) -> str:
    """The state of a VM or an image, with its reason."""
    reason = f": {resource['reason']}" if resource["reason"] else ""
    move = resource.get("move")
    if resource["status"] == "IMPORTING" and resource.get("percent") is not None:
        return f"IMPORTING {resource['percent']} %{reason}"
    on_its_way = f", {move['percent']} % on host {move['to']}" if move and move["to"] else ""
    return f"{resource['status']}{on_its_way}{reason}"


def vm_goal(accepted: Resource) -> Goal:
    """The state that was requested of a VM; `accepted` is the API's answer to the request.

    So it is with a reboot too: a host answers its generation with RUNNING only when the guest runs anew.
    """
    requested, generation, name = accepted["requested"], accepted["generation"], accepted["name"]

    def reached(vm: Resource | None) -> bool:
        if vm is None:
            return _gone(name, requested)
        if vm["generation"] < generation:
            return False  # from before the request
        if vm["requested"] != requested:
            raise CliError(f"{name}: no longer waited for: somebody requested {vm['requested']} meanwhile")
        if vm["observed_generation"] < generation:
            return False  # the host has not taken notice yet
        if vm["status"] == requested:
            return bool(requested != "DELETED")  # there is still a record of it, which keeps its name taken
        # A guest that powered itself off stays off, until it is started again; one that died can't be suspended.
        over = {"RUNNING": ("ERROR", "STOPPED"), "SUSPENDED": ("ERROR", "STOPPED", "KILLED"), "STOPPED": ("ERROR",)}
        if vm["status"] in over.get(requested, ("ERROR",)):
            raise CliError(f"{name}: {describe(vm)}")
        return False

    return reached


def notice_goal(accepted: Resource) -> Goal:
    """That a VM's host has taken notice of a change that leaves its state as it is (a resize, another name).

    A VM without a host, or with a silent one, has nobody to take notice: the change waits there for its host.
    """
    generation, name = accepted["generation"], accepted["name"]
    was_well = accepted["status"] != "ERROR"

    def reached(vm: Resource | None) -> bool:
        if vm is None:
            return _gone(name, accepted["requested"])
        if vm["generation"] < generation:
            return False
        if vm["generation"] > generation and vm["specs"] != accepted["specs"]:
            raise CliError(f"{name}: no longer waited for: somebody resized it meanwhile")
        if vm["status"] in _NOBODY_TO_NOTICE:
            return True
        if vm["observed_generation"] < generation:
            return False
        if vm["status"] == "ERROR" and was_well:
            raise CliError(f"{name}: {describe(vm)}")
        return True

    return reached


def move_goal(accepted: Resource, stays: bool) -> Goal:
    """That a VM has come to another host and is there what it was; or, if it `stays`, that nothing moves any more."""
    name, host = accepted["name"], accepted["hostname"]
    wish = accepted["move"]["wish"] if accepted["move"] else 0

    def reached(vm: Resource | None) -> bool:
        if vm is None:
            raise CliError(f"{name}: somebody deleted it meanwhile")
        move = vm["move"]
        if move and (move["dealt_with"] < wish or move["to"]):
            return False
        if (vm["hostname"] == host) is stays:
            return stays or vm["status"] not in _ARRIVING
        if stays:
            raise CliError(f"{name}: it was too late, it has come to {vm['hostname'].rpartition('/')[2]}")
        why = f": {move['failure']}" if move and move["failure"] else ""
        raise CliError(f"{name}: it stays on {host.rpartition('/')[2]}{why}")

    return reached


def snapshot_goal(accepted: Resource) -> Goal:
    """That the newest snapshot of a VM is there."""
    name, snapshot = accepted["name"], accepted["snapshots"][-1]

    def reached(vm: Resource | None) -> bool:
        if vm is None:
            return _gone(name, "")
        if vm["generation"] < accepted["generation"]:
            return False
        found = next((each for each in vm["snapshots"] if each["id"] == snapshot["id"]), None)
        if found is None:
            raise CliError(f"{name}: somebody removed the snapshot {snapshot['name']} meanwhile")
        if found["status"] == "LOST" or vm["status"] == "ERROR":
            raise CliError(f"{name}: the snapshot {found['name']} is {found['status']}: {found['reason']}")
        return bool(found["status"] == "READY")

    return reached


def rollback_goal(accepted: Resource) -> Goal:
    """That a VM has been rolled back."""
    name, wish = accepted["name"], accepted["rollback"]

    def reached(vm: Resource | None) -> bool:
        if vm is None:
            return _gone(name, "")
        if vm["generation"] < accepted["generation"]:
            return False
        now = vm["rollback"]
        if now["number"] > wish["number"]:
            raise CliError(f"{name}: no longer waited for: somebody asked for another roll-back meanwhile")
        if now["pending"] and vm["status"] == "ERROR":
            raise CliError(f"{name}: {describe(vm)}")
        return not now["pending"]

    return reached


def image_goal(accepted: Resource) -> Goal:
    """That an image is READY, or gone; an import that fails for a reason that may pass is waited for."""
    requested, name = accepted["requested"], accepted["name"]

    def reached(image: Resource | None) -> bool:
        if image is None:
            return _gone(name, requested)
        if image["requested"] == "DELETED" != requested:
            raise CliError(f"{name}: no longer waited for: somebody requested its deletion meanwhile")
        if image["status"] == "REJECTED" and requested == "READY":
            raise CliError(f"{name}: {describe(image)}")
        return bool(image["status"] == requested)

    return reached


def _gone(name: str, requested: str) -> bool:
    if requested == "DELETED":
        return True
    raise CliError(f"{name}: somebody deleted it meanwhile")
