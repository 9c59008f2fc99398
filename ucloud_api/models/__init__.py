"""The bodies and parameters that the API takes, and the resources that it gives. The OpenAPI document is made of these.

A field's description says what is allowed: a refusal repeats it (ucloud_api.problems).
"""

from ucloud_api.models.doctor import Diagnosis, FindingOut, Mend
from ucloud_api.models.event import EventList, EventQuery, ThingEvent
from ucloud_api.models.host import (
    Amounts,
    FreeSpace,
    Host,
    HostList,
    HostPatch,
    HostPath,
    OvercommitOut,
    OvercommitPatch,
)
from ucloud_api.models.image import Image, ImageCreate, ImageList, ImagePatch, ImageQuery
from ucloud_api.models.move import Drain, DrainingVm, Move, PlannedMove, Rebalance, VmMigrate
from ucloud_api.models.network import Network, NetworkCreate, NetworkList, NetworkPatch, NetworkQuery
from ucloud_api.models.port import Named, PortIn, PortOut, PortPath
from ucloud_api.models.security_group import (
    RuleIn,
    RuleOut,
    SecurityGroup,
    SecurityGroupCreate,
    SecurityGroupList,
    SecurityGroupPatch,
    SecurityGroupQuery,
)
from ucloud_api.models.session import SessionCreate, SessionCreated, SessionOut
from ucloud_api.models.shared import In, ListQuery, Out, ThingPath, WatchQuery
from ucloud_api.models.ssh_key import SshKey, SshKeyCreate, SshKeyList, SshKeyPath
from ucloud_api.models.user import Quota, QuotaIn, User, UserCreate, UserList, UserPatch, UserPath, UserQuery
from ucloud_api.models.vm import (
    EventOut,
    LogQuery,
    SpecsIn,
    SpecsOut,
    SpecsPatch,
    Vm,
    VmCreate,
    VmForceVerb,
    VmList,
    VmPatch,
    VmQuery,
    VmVerb,
)

__all__ = [
    "Amounts",
    "Diagnosis",
    "Drain",
    "DrainingVm",
    "EventList",
    "EventOut",
    "EventQuery",
    "FindingOut",
    "Host",
    "FreeSpace",
    "HostList",
    "HostPatch",
    "HostPath",
    "Image",
    "ImageCreate",
    "ImageList",
    "ImagePatch",
    "ImageQuery",
    "In",
    "ListQuery",
    "LogQuery",
    "Mend",
    "Move",
    "Named",
    "Network",
    "NetworkCreate",
    "NetworkList",
    "NetworkPatch",
    "NetworkQuery",
    "Out",
    "OvercommitOut",
    "OvercommitPatch",
    "PlannedMove",
    "PortIn",
    "PortOut",
    "PortPath",
    "Quota",
    "QuotaIn",
    "Rebalance",
    "RuleIn",
    "RuleOut",
    "SecurityGroup",
    "SecurityGroupCreate",
    "SecurityGroupList",
    "SecurityGroupPatch",
    "SecurityGroupQuery",
    "SessionCreate",
    "SessionCreated",
    "SessionOut",
    "SpecsIn",
    "SpecsOut",
    "SpecsPatch",
    "SshKey",
    "SshKeyCreate",
    "SshKeyList",
    "SshKeyPath",
    "ThingEvent",
    "ThingPath",
    "User",
    "UserCreate",
    "UserList",
    "UserPatch",
    "UserPath",
    "UserQuery",
    "Vm",
    "VmCreate",
    "VmForceVerb",
    "VmList",
    "VmMigrate",
    "VmPatch",
    "VmQuery",
    "VmVerb",
    "WatchQuery",
]
