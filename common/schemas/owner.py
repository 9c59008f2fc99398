"""Who owns things: a user, or a project. A project's things are of the owner "project:NAME", which no user can be."""

from typing import Annotated

from pydantic import StringConstraints

_NAME = r"[a-z0-9_]([a-z0-9_.-]{0,61}[a-z0-9_])?"
_PROJECT = "project:"

UserName = Annotated[str, StringConstraints(pattern=rf"^{_NAME}$", max_length=63)]
"""A POSIX user name: it is a folder's name below the upload directory."""
ProjectName = UserName
OwnerName = Annotated[str, StringConstraints(pattern=rf"^({_PROJECT})?{_NAME}$", max_length=63 + len(_PROJECT))]


def project_owner(project: str) -> str:
    """What the owner of a project's things is called."""
    return f"{_PROJECT}{project}"


def project_of(owner: str) -> str | None:
    """The project that an owner is; None for a user."""
    return owner.removeprefix(_PROJECT) if owner.startswith(_PROJECT) else None
