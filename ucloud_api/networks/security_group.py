"""The routes of security groups."""

from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import uuid4

from flask import Response
from flask_openapi.blueprint import APIBlueprint
from flask_openapi.models.tag import Tag

from common import admission, keys
from common.admission import MOST_GROUPS_NAMED, Step
from common.errors import Conflict
from common.schemas.network import Rule, SecurityGroup
from ucloud_api import models
from ucloud_api.access.auth import Caller, current_caller
from ucloud_api.access.owner import budget_of, owner_of_new
from ucloud_api.models.security_group import RuleIn
from ucloud_api.problems import ApiProblem, FieldProblem, documented, not_found
from ucloud_api.reading.collection import Collection, users_of
from ucloud_api.reading.quick import quick
from ucloud_api.worker.state import State, current_state
from ucloud_api.writing.answers import answer, etag, names_of, watchable
from ucloud_api.writing.change import Plan, change, told
from ucloud_api.writing.creation import Creation, make
from ucloud_api.writing.removal import Removal, remove

blueprint = APIBlueprint(
    "security-group",
    __name__,
    url_prefix=keys.SECURITY_GROUP.rstrip("/"),
    abp_tags=[Tag(name="security group", description="What may pass to and from VMs")],
    abp_responses=documented(401, 409, 422, 429, 500, 503),
)


def groups(state: State, caller: Caller) -> Collection[SecurityGroup]:
    """The security groups, for a caller."""
    return Collection(state, caller, SecurityGroup, state.followed_groups, lambda group: _resource(state, group))


def _resource(state: State, group: SecurityGroup) -> models.SecurityGroup:
    named = {rule.group for rule in group.rules if rule.group}
    known = {uuid: state.groups.get(keys.security_group(uuid)) for uuid in sorted(named - {group.uuid})}
    names = {uuid: cached.record.name for uuid, cached in known.items() if cached}
    names |= {group.uuid: group.name} if group.uuid in named else {}
    return models.SecurityGroup.model_validate(group.model_dump(exclude={"version"}) | {"group_names": names})


def _rules(
    known: Collection[SecurityGroup], owner: str, own: tuple[str, str], wanted: Sequence[RuleIn]
) -> tuple[Rule, ...]:
    """The rules, with the uuids of the groups that they are about; ApiProblem (404, 422).

    `own` is the uuid and the name of the group that they are for, which may not be there yet.
    """
    rules = []
    for number, each in enumerate(wanted):
        said = each.model_dump()
        if each.group in own:
            said["group"] = own[0]
        elif each.group is not None:
            said["group"] = known.find(each.group, owner, f"rules.{number}.group").uuid
        rules.append(Rule(**said | {"last_port": each.last_port or each.first_port}))
    if len({rule.group for rule in rules}) > MOST_GROUPS_NAMED:
        allowed = f"at most {MOST_GROUPS_NAMED}"
        problem = FieldProblem(field="rules", problem="are about too many groups", allowed=allowed)
        raise ApiProblem(422, "invalid-fields", f"rules are about too many groups: {allowed}", [problem])
    return tuple(dict.fromkeys(rules))


@blueprint.post(
    "", summary="Create a security group", responses={201: models.SecurityGroup, **documented(400, 403, 404, 413, 415)}
)
def create(body: models.SecurityGroupCreate) -> Response:
    """Make a group that ports may be in at once."""
    state, caller = current_state(), current_caller()
    owner, uuid, known = owner_of_new(caller, body.owner), str(uuid4()), groups(state, caller)
    state.await_caches(state.groups)

    def draft() -> tuple[bytes, Step]:
        budget = budget_of(state, owner)
        rules = _rules(known, owner, (uuid, body.name), body.rules)
        group = SecurityGroup(uuid=uuid, owner=owner, name=body.name, rules=rules, created_at=datetime.now(UTC))
        step = admission.admit_group(group, budget) + told(state, None, group)
        return _resource(state, group).model_dump_json().encode(), step

    def refuse(conflict: Conflict) -> None:
        known.refuse_name(conflict, owner, body.name)

    what = "the owner's account or quota, or a group"
    return make(state, Creation(state.groups, keys.security_group(uuid), what, draft, refuse, status=201))


@blueprint.get("", summary="List security groups", responses={200: watchable(models.SecurityGroupList)})
def list_groups(query: models.SecurityGroupQuery) -> Response:
    """The caller's security groups, oldest first, an admin's list has those of all; with ?watch=1 a stream."""
    return groups(current_state(), current_caller()).list(query)


@blueprint.get(
    "/<uuid>", summary="Show a security group", responses={200: watchable(models.SecurityGroup), **documented(404)}
)
@quick
def show(path: models.ThingPath, query: models.WatchQuery) -> Response:
    """One security group; with ?watch=1 a stream that begins with it as it is."""
    return groups(current_state(), current_caller()).show(str(path.uuid), query.watch)


def read(state: State, caller: Caller, uuid: str) -> tuple[SecurityGroup, int]:
    """A security group that the caller may see, with its revision; ApiProblem (404)."""
    return groups(state, caller).read(uuid)


@blueprint.patch(
    "/<uuid>",
    summary="Change a security group",
    responses={200: models.SecurityGroup, **documented(400, 403, 404, 412, 413, 415)},
)
def patch(path: models.ThingPath, body: models.SecurityGroupPatch) -> Response:
    """Rename a security group, or give it other rules, which hold for all its ports at once."""
    state, caller, uuid = current_state(), current_caller(), str(path.uuid)
    known = groups(state, caller)
    known.read(uuid)

    def decide(current: SecurityGroup | None) -> SecurityGroup:
        group = known.owned(current, uuid)
        name = body.name or group.name
        own = (uuid, group.name)
        rules = group.rules if body.rules is None else _rules(known, group.owner, own, body.rules)
        return group.model_copy(update={"name": name, "rules": rules})

    def refuse(conflict: Conflict, group: SecurityGroup) -> None:
        known.refuse_name(conflict, group.owner, group.name)

    key = keys.security_group(uuid)
    changed = change(state, Plan(state.groups, SecurityGroup, key, decide, admission.change_group, refuse))
    return answer(_resource(state, changed.record), 200, {"ETag": etag(changed.revision)})


@blueprint.delete(
    "/<uuid>",
    summary="Delete a security group",
    responses={204: {"description": "The group is gone."}, **documented(403, 404, 412)},
)
def delete(path: models.ThingPath) -> Response:
    """Remove a security group that no port is in, and that no other group's rule is about."""
    state, caller, uuid = current_state(), current_caller(), str(path.uuid)
    known = groups(state, caller)
    known.read(uuid)

    def step(group: SecurityGroup, revision: int) -> Step:
        return admission.delete_group(known.owned(group, uuid), revision)

    def refuse(conflict: Conflict) -> None:
        if {keys.group_members(uuid), keys.group_uses(uuid)}.intersection(conflict.keys):
            raise _in_use(state, caller, uuid) from conflict

    missing = not_found("security group", uuid)
    remove(state, Removal(SecurityGroup, keys.security_group(uuid), missing, step, refuse, state.groups))
    return Response(status=204)


def _in_use(state: State, caller: Caller, uuid: str) -> ApiProblem:
    """409 that names those VMs and groups that the caller may see."""
    vms = {entry.value.decode(errors="replace") for entry in state.store.list(keys.group_members(uuid)).entries}
    uses = [keys.last_part(entry.key) for entry in state.store.list(keys.group_uses(uuid)).entries]
    own = [each for each in uses if (who := state.followed_groups.things.audience(each)) and caller.may_see(who.owner)]
    users = [f"VMs are in it: {users_of(state, caller, vms)}"] if vms else []
    users += [f"rules of groups are about it: {names_of(own) or 'of others'}"] if uses else []
    return ApiProblem(409, "security-group-in-use", f"the group is in use; {'; '.join(users)}")
