"""What the members of etcd say of themselves. Source: etcd's rpc.proto, service Maintenance."""

from dataclasses import dataclass

import grpc
from etcd3.etcdrpc import rpc_pb2

from common.store.connection import ATTEMPT_TIMEOUT_S, Connection, Stubs

_ALARMS = {1: "NOSPACE", 2: "CORRUPT"}


@dataclass(frozen=True)
class MemberStatus:
    """One member, by the endpoint that it was asked at. `problem` is why the rest is not known."""

    endpoint: str
    version: str = ""
    db_bytes: int = 0
    has_leader: bool = False
    alarms: tuple[str, ...] = ()
    """NOSPACE: it refuses writes. CORRUPT: its data differ from those of the others."""
    problem: str = ""


def look_at_members(connection: Connection) -> tuple[MemberStatus, ...]:
    """The state of the member behind each endpoint, which is asked once."""
    found = []
    for stubs in connection.one_by_one():
        try:
            found.append(_look(stubs, connection.metadata(stubs)))
        except grpc.RpcError as error:
            found.append(MemberStatus(stubs.endpoint, problem=error.details() or error.code().name))
    return tuple(found)


def _look(stubs: Stubs, metadata: tuple[tuple[str, str], ...]) -> MemberStatus:
    options = {"timeout": ATTEMPT_TIMEOUT_S, "metadata": metadata}
    status = stubs.maintenance.Status(rpc_pb2.StatusRequest(), **options)
    alarms = stubs.maintenance.Alarm(rpc_pb2.AlarmRequest(action=rpc_pb2.AlarmRequest.GET), **options).alarms
    own = {_ALARMS.get(each.alarm, str(each.alarm)) for each in alarms if each.memberID == status.header.member_id}
    return MemberStatus(stubs.endpoint, status.version, status.dbSize, status.leader != 0, tuple(sorted(own)))
