"""Where users come from: the accounts that admins make, in etcd, and LDAP; who they are, their groups, their ssh keys.

`Users` is what daemons use. It asks the account in etcd first: a name that an admin gave an account never comes from
LDAP. What LDAP said is kept in etcd for the time when it does not answer; passwords are kept nowhere.
"""

from common.directory.directory import Directory
from common.directory.embedded import EmbeddedDirectory
from common.directory.ldap import LdapDirectory
from common.directory.project_groups import ProjectGroups
from common.directory.remembered import RememberedDirectory
from common.directory.users import Users

__all__ = ["Directory", "EmbeddedDirectory", "LdapDirectory", "ProjectGroups", "RememberedDirectory", "Users"]
