"""What the API refuses, told to a person: a problem (RFC 9457) becomes an error with what to type next. Pure."""

import json
from collections.abc import Mapping
from typing import Any

from ucloud_cli.errors import ApiAway, CliError, Misused, NotAllowed, NotFound, Outdated, Refused

Resource = dict[str, Any]

_URN = "urn:ucloud:problem:"
_PATIENCE_S = 25.0
_ERRORS: Mapping[int, type[CliError]] = {
    400: Misused, 403: NotAllowed, 404: NotFound, 409: Refused, 412: Outdated, 413: Misused, 422: Misused,
}  # fmt: skip
_OPTIONS = {
    "name": "the name", "image": "--image", "owner": "--owner", "file": "--file", "state": "--state",
    "realm": "--realm", "token": "the one-time token", "to": "--to", "prefix": "--prefix", "ipv4": "--ipv4",
    "mtu": "--mtu", "key": "the key", "user_data": "--user-data", "hostname": "--hostname",
    "size": "the size", "store": "--store", "vm": "--from-vm", "snapshot": "--snapshot",
}  # fmt: skip
_GROUPS = ("specs", "quota")
_MANY = {"networks": "--network", "ssh_keys": "--ssh-key", "rules": "the rule"}
_HINTS = {
    "over-quota": "ucloud whoami shows your quota and what of it is used",
    "protected": "ucloud vm unprotect lifts it",
    "image-protected": "ucloud image unprotect lifts it",
    "over-upload-quota": "ucloud file list shows what you have there",
    "image-not-found": "ucloud image list shows them",
    "network-not-found": "ucloud network list shows them",
    "security-group-not-found": "ucloud security-group list shows them",
    "name-taken": "choose another name",
    "too-many-disks": "ucloud vm disk list shows them",
}


def error_of(status: int, headers: Mapping[str, str], body: bytes | str, url: str, unknown_caller: str) -> CliError:
    """The error that an answer means, which is none of 2xx. `unknown_caller` is what a 401 means to this user."""
    problem = _problem(body)
    retry_after_s = _seconds(headers.get("Retry-After"))
    if problem is None:
        if status in (502, 503, 504):
            return ApiAway(f"the API behind {url} does not answer ({status})", _PATIENCE_S, retry_after_s)
        return CliError(f"what answers at {url} ({status}) is not the API of ucloud")
    message = _describe(problem)
    kind = str(problem.get("type", "")).removeprefix(_URN)
    if status == 401:
        return NotAllowed(unknown_caller)
    if status == 429:
        return ApiAway(message, retry_after_s=retry_after_s)
    if status in (502, 503, 504):
        # What the API itself answers with 502 is that a host is silent, which lasts.
        return ApiAway(f"{message} (API at {url})", _PATIENCE_S if status == 503 else 0.0, retry_after_s)
    error = Refused if kind == "over-quota" else _ERRORS.get(status, CliError)
    return error(f"{message} ({_HINTS[kind]})" if kind in _HINTS else message)


def _problem(body: bytes | str) -> Resource | None:
    try:
        problem = json.loads(body)
    except ValueError:
        return None
    return problem if isinstance(problem, dict) and "title" in problem else None


def _seconds(header: str | None) -> float | None:
    return float(header) if header and header.isdecimal() else None


def _describe(problem: Resource) -> str:
    """A problem in one line: of a 422 each field as the option that sets it, of all others the detail."""
    if problem.get("status") != 422 or not problem.get("errors"):
        return str(problem.get("detail") or problem["title"])
    lines = []
    for error in problem["errors"]:
        allowed = error.get("allowed")
        if isinstance(allowed, list):
            allowed = ", ".join(allowed)
        line = f"{_option(str(error['field']))} {error['problem']}"
        lines.append(line + (f" (allowed: {allowed.rstrip('.')})" if allowed else ""))
    return "; ".join(lines)


def _option(field: str) -> str:
    """The option that sets a field: "specs.cpu" -> "--cpu"."""
    group, _, part = field.partition(".")
    if group in _MANY:
        # Of which one of many it is, the number says little to whom typed it.
        return f"{_MANY[group]} {part.lstrip('0123456789.').replace('_', ' ')}".rstrip()
    return f"--{part.replace('_', '-')}" if part and group in _GROUPS else _OPTIONS.get(field, field)
