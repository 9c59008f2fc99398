"""Everything that a VM may read of itself. Pure."""

from common.schemas.network import NOCLOUD
from ucloud_meta import ec2, openstack, seed
from ucloud_meta.instance import Instance
from ucloud_meta.tree import Directory


def paths(instance: Instance) -> Directory:
    """The root of what http://metadata answers this VM; as with Nova, only the versions of EC2 are listed there."""
    others = {"openstack": openstack.directory(instance), NOCLOUD: seed.directory(instance)}
    return Directory({**ec2.versions(instance), **others}, listing=ec2.VERSIONS)
