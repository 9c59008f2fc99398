"""Who may use which route: one table, which the OpenAPI document shows (`x-right`) and a test walks as everybody."""

from enum import StrEnum


class Right(StrEnum):
    """What somebody must be to use a route. An admin may use all of them."""

    PUBLIC = "public"
    """Whoever asks."""
    LOGGED_IN = "logged-in"
    """Any user; lists show what is the user's to see."""
    SELF = "self"
    """The user that it is about."""
    READ = "read"
    """Whoever the thing belongs to, readers of its project included; everybody where it is public."""
    WRITE = "write"
    """Whoever the thing belongs to, or will; no reader."""
    MANAGE = "manage"
    """An owner of the project."""
    ADMIN = "admin"
    """Nobody else."""


_THINGS = ("vm", "image", "network", "security-group")

RIGHTS: dict[str, Right] = {
    "POST /v1/session": Right.PUBLIC,
    "GET /v1/session": Right.LOGGED_IN,
    "DELETE /v1/session": Right.LOGGED_IN,
    "GET /v1/user": Right.LOGGED_IN,
    "POST /v1/user": Right.ADMIN,
    "GET /v1/user/{name}": Right.SELF,
    "PATCH /v1/user/{name}": Right.ADMIN,
    "DELETE /v1/user/{name}": Right.ADMIN,
    "GET /v1/user/{name}/events": Right.SELF,
    "GET /v1/user/{name}/logins": Right.SELF,
    "GET /v1/user/{name}/session": Right.SELF,
    "DELETE /v1/user/{name}/session/{id}": Right.SELF,
    "DELETE /v1/user/{name}/lockout": Right.ADMIN,
    "GET /v1/user/{name}/ssh-key": Right.SELF,
    "POST /v1/user/{name}/ssh-key": Right.SELF,
    "GET /v1/user/{name}/ssh-key/{key_name}": Right.SELF,
    "DELETE /v1/user/{name}/ssh-key/{key_name}": Right.SELF,
    "GET /v1/file": Right.LOGGED_IN,
    "POST /v1/file": Right.LOGGED_IN,
    "GET /v1/file/{owner}/{name}": Right.SELF,
    "DELETE /v1/file/{owner}/{name}": Right.SELF,
    **{f"{method} /v1/file/{{owner}}/{{name}}/upload": Right.SELF for method in ("GET", "PATCH", "DELETE")},
    "GET /v1/project": Right.LOGGED_IN,
    "POST /v1/project": Right.ADMIN,
    "GET /v1/project/{name}": Right.READ,
    "PATCH /v1/project/{name}": Right.ADMIN,
    "DELETE /v1/project/{name}": Right.MANAGE,
    "GET /v1/project/{name}/events": Right.READ,
    "POST /v1/project/{name}/member": Right.MANAGE,
    "PATCH /v1/project/{name}/member/{user}": Right.MANAGE,
    "DELETE /v1/project/{name}/member/{user}": Right.MANAGE,
    **{f"GET /v1/{thing}": Right.LOGGED_IN for thing in _THINGS},
    **{f"POST /v1/{thing}": Right.WRITE for thing in _THINGS},
    **{f"GET /v1/{thing}/{{uuid}}": Right.READ for thing in _THINGS},
    **{f"PATCH /v1/{thing}/{{uuid}}": Right.WRITE for thing in _THINGS},
    **{f"DELETE /v1/{thing}/{{uuid}}": Right.WRITE for thing in _THINGS},
    **{f"GET /v1/{thing}/{{uuid}}/events": Right.READ for thing in _THINGS},
    "GET /v1/image-store": Right.LOGGED_IN,
    "GET /v1/vm/{uuid}/why": Right.READ,
    # What a guest shows may be a password: no reader's to see.
    **{f"GET /v1/vm/{{uuid}}/{what}": Right.WRITE for what in ("log", "screenshot", "console")},
    **{
        f"POST /v1/vm/{{uuid}}/{verb}": Right.WRITE
        for verb in ("start", "stop", "suspend", "resume", "reboot", "port", "disk")
    },
    "PATCH /v1/vm/{uuid}/disk/{serial}": Right.WRITE,
    "DELETE /v1/vm/{uuid}/disk/{serial}": Right.WRITE,
    "DELETE /v1/vm/{uuid}/port/{id}": Right.WRITE,
    "GET /v1/vm/{uuid}/snapshot": Right.READ,
    "POST /v1/vm/{uuid}/snapshot": Right.WRITE,
    "DELETE /v1/vm/{uuid}/snapshot/{snapshot}": Right.WRITE,
    "POST /v1/vm/{uuid}/snapshot/{snapshot}/rollback": Right.WRITE,
    "POST /v1/vm/{uuid}/migrate": Right.ADMIN,
    "DELETE /v1/vm/{uuid}/migrate": Right.ADMIN,
    "GET /v1/host": Right.ADMIN,
    "GET /v1/host/{name}": Right.ADMIN,
    "PATCH /v1/host/{name}": Right.ADMIN,
    "GET /v1/host/{name}/drain": Right.ADMIN,
    "GET /v1/host/{name}/events": Right.ADMIN,
    "POST /v1/host/{name}/confirm-dead": Right.ADMIN,
    "GET /v1/rebalance": Right.ADMIN,
    "GET /v1/doctor": Right.ADMIN,
    "POST /v1/doctor": Right.ADMIN,
}
"""By method and path, as the document has them."""
