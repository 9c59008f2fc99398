"""What a directory of users says of one of them."""

from datetime import datetime

from common.schemas.owner import UserName
from common.schemas.record import Part, Record


class Group(Part):
    """A group of a directory. Two of them may have one name, but never one DN."""

    dn: str
    name: str
    """The value at the front of the DN: of `cn=dev,ou=groups,dc=example,dc=com` it is `dev`."""


class Person(Record):
    """Somebody who may use the cloud, as a directory said at `read_at`.

    `/v1/person/<name>` keeps what LDAP said, for the time when it does not answer. No password is in it, in no form.
    """

    name: UserName
    is_admin: bool = False
    groups: tuple[Group, ...] = ()
    ssh_keys: tuple[str, ...] = ()
    """Public keys, each as `parse_ssh_key` gives it."""
    read_at: datetime
