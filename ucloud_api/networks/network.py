"""The routes of networks."""

import secrets
from datetime import UTC, datetime
from functools import partial
from ipaddress import IPv6Network
from uuid import uuid4

from flask import Response
from flask_openapi.blueprint import APIBlueprint
from flask_openapi.models.tag import Tag

from common import admission, keys
from common.admission import Step
from common.errors import Conflict, MalformedRecord
from common.schemas.network import AddressHolder, NetworkRequest
from ucloud_api import models
from ucloud_api.access.auth import Caller, current_caller
from ucloud_api.access.owner import budget_of, owner_of_new
from ucloud_api.networks import network_views
from ucloud_api.networks.network_views import HasNetwork
from ucloud_api.problems import ApiProblem, FieldProblem, documented, not_found
from ucloud_api.reading.collection import Collection, check_may_publish, users_of
from ucloud_api.reading.quick import quick
from ucloud_api.worker.state import State, current_state
from ucloud_api.writing.answers import answer, etag, watchable
from ucloud_api.writing.change import Plan, change, told
from ucloud_api.writing.creation import Creation, make
from ucloud_api.writing.removal import Removal, remove

LAST_VNI = 2**24 - 1
_ULA = IPv6Network("fc00::/7")

blueprint = APIBlueprint(
    "network",
    __name__,
    url_prefix=keys.NETWORK.rstrip("/"),
    abp_tags=[Tag(name="network", description="What VMs are plugged into")],
    abp_responses=documented(401, 409, 422, 429, 500, 503),
)


def networks(state: State, caller: Caller) -> Collection[NetworkRequest]:
    """The networks, for a caller."""
    return Collection(state, caller, NetworkRequest, state.followed_networks, partial(_resource, state, caller))


def _resource(state: State, caller: Caller, network: NetworkRequest) -> models.Network:
    hosts = state.network_index.hosts_of(network.uuid)
    found = {host: state.network_statuses.get(keys.network_status(host, network.uuid)) for host in sorted(hosts)}
    seen = [HasNetwork(host, state.is_alive(host), cached.record) for host, cached in found.items() if cached]
    return network_views.network(network, seen, caller.is_admin)


@blueprint.post("", summary="Create a network", responses={201: models.Network, **documented(400, 403, 404, 413, 415)})
def create(body: models.NetworkCreate) -> Response:
    """Make a network that VMs may be plugged into at once."""
    state, caller = current_state(), current_caller()
    owner, uuid = owner_of_new(caller, body.owner), str(uuid4())
    if body.public:
        check_may_publish(caller, "a network")
    if body.prefix:
        _check_prefix(state, caller, body.prefix)

    def draft() -> tuple[bytes, Step]:
        vni = 1 + secrets.randbelow(LAST_VNI)
        network = NetworkRequest(
            uuid=uuid,
            vni=vni,
            prefix=body.prefix or nth_prefix(state, vni),
            created_at=datetime.now(UTC),
            owner=owner,
            **body.model_dump(include={"name", "ipv4", "mtu", "isolated", "public"}),
        )
        step = admission.admit_network(network, budget_of(state, owner)) + told(state, None, network)
        return _resource(state, caller, network).model_dump_json().encode(), step

    def refuse(conflict: Conflict) -> None:
        """Else the VNI that was drawn is another network's, or the account or its use changed: try again."""
        networks(state, caller).refuse_name(conflict, owner, body.name)
        if body.prefix and keys.prefix(str(body.prefix.network_address)) in conflict.keys:
            problem = FieldProblem(
                field="prefix", problem="is taken", allowed="another one; an isolated network's may be"
            )
            raise ApiProblem(409, "prefix-taken", f"the prefix {body.prefix} is another network's", [problem])

    what = "the owner's account or quota"
    return make(state, Creation(state.networks, keys.network(uuid), what, draft, refuse, status=201))


def nth_prefix(state: State, number: int) -> IPv6Network:
    """The /64 of the cloud's prefixes that a number of 24 bits stands for."""
    pool = state.settings.network.prefix_pool
    return IPv6Network((int(pool.network_address) | number << 64, 64))


def _check_prefix(state: State, caller: Caller, prefix: IPv6Network) -> None:
    """ApiProblem where a network may not have a prefix, isolated or not, because each of its hosts routes it."""
    if not caller.is_admin and not prefix.subnet_of(_ULA):
        problem = FieldProblem(field="prefix", problem="is for admins to give", allowed=f"a /64 of {_ULA}")
        raise ApiProblem(403, "admins-only", "only an admin makes networks of global addresses", [problem])
    state.await_caches(state.host_statuses)
    hosts = (address for status in state.host_statuses.records().values() for address in status.record.addresses)
    if any(_is_in(address, prefix) for address in hosts):
        problem = FieldProblem(field="prefix", problem="is the cloud's own", allowed="another one")
        raise ApiProblem(422, "invalid-fields", "prefix is the cloud's own", [problem])


def _is_in(address: str, prefix: IPv6Network) -> bool:
    try:
        return IPv6Network(address).subnet_of(prefix)
    except ValueError:
        return False  # of IPv4


@blueprint.get("", summary="List networks", responses={200: watchable(models.NetworkList)})
def list_networks(query: models.NetworkQuery) -> Response:
    """The caller's networks and public ones, oldest first, an admin's list has all; with ?watch=1 a stream."""
    return networks(current_state(), current_caller()).list(query)


@blueprint.get("/<uuid>", summary="Show a network", responses={200: watchable(models.Network), **documented(404)})
@quick
def show(path: models.ThingPath, query: models.WatchQuery) -> Response:
    """One network; with ?watch=1 a stream that begins with it as it is."""
    return networks(current_state(), current_caller()).show(str(path.uuid), query.watch)


def read(state: State, caller: Caller, uuid: str) -> tuple[NetworkRequest, int]:
    """A network that the caller may see, with the revision of its request; ApiProblem (404)."""
    return networks(state, caller).read(uuid)


@blueprint.patch(
    "/<uuid>", summary="Change a network", responses={200: models.Network, **documented(400, 403, 404, 412, 413, 415)}
)
def patch(path: models.ThingPath, body: models.NetworkPatch) -> Response:
    """Rename a network, or say whether everybody may use it. VMs that are plugged into it stay so."""
    state, caller, uuid = current_state(), current_caller(), str(path.uuid)
    known = networks(state, caller)
    known.read(uuid)

    def decide(current: NetworkRequest | None) -> NetworkRequest:
        network = known.owned(current, uuid)
        wanted = network.model_copy(update=body.model_dump(exclude_none=True))
        if wanted.public != network.public:
            check_may_publish(caller, "a network")
        return wanted

    def refuse(conflict: Conflict, network: NetworkRequest) -> None:
        known.refuse_name(conflict, network.owner, network.name)

    key = keys.network(uuid)
    changed = change(state, Plan(state.networks, NetworkRequest, key, decide, admission.change_network, refuse))
    return answer(_resource(state, caller, changed.record), 200, {"ETag": etag(changed.revision)})


@blueprint.delete(
    "/<uuid>",
    summary="Delete a network",
    responses={204: {"description": "The network is gone."}, **documented(403, 404, 412)},
)
def delete(path: models.ThingPath) -> Response:
    """Remove a network that no VM is plugged into."""
    state, caller, uuid = current_state(), current_caller(), str(path.uuid)
    known = networks(state, caller)
    known.read(uuid)

    def step(network: NetworkRequest, revision: int) -> Step:
        return admission.delete_network(known.owned(network, uuid), revision)

    def refuse(conflict: Conflict) -> None:
        if keys.addresses(uuid) in conflict.keys:
            raise _in_use(state, caller, uuid) from conflict

    missing = not_found("network", uuid)
    remove(state, Removal(NetworkRequest, keys.network(uuid), missing, step, refuse, state.networks))
    return Response(status=204)


def _in_use(state: State, caller: Caller, uuid: str) -> ApiProblem:
    """409 that names those VMs that the caller may see."""
    holders = set()
    for entry in state.store.list(keys.addresses(uuid)).entries:
        try:
            holders.add(AddressHolder.read(entry.key, entry.value).vm)
        except MalformedRecord:
            holders.add("")  # somebody's
    users = users_of(state, caller, holders)
    return ApiProblem(409, "network-in-use", f"VMs use this network, detach or delete them first: {users}")
