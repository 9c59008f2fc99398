"""The routes of projects and their members. Admins make projects and say their quotas; owners say who is in them.

One owner always stays: the members are in one record, which a change compares to be as it was read.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from flask import Response
from flask_openapi.blueprint import APIBlueprint
from flask_openapi.models.tag import Tag

from common import admission, keys
from common.admission import Step
from common.errors import Conflict
from common.schemas.owner import project_owner
from common.schemas.project import MOST_MEMBERS, Project
from common.schemas.role import MemberRole
from common.schemas.user import Amounts
from common.store import Listing, Put, absent, present
from ucloud_api import models
from ucloud_api.access.auth import Caller, current_caller, require_admin
from ucloud_api.access.owner import refuse_if_owner
from ucloud_api.access.quota import DEFAULT_QUOTA, quota_of, quota_resource, use_of_all
from ucloud_api.problems import ApiProblem, FieldProblem, documented, not_found
from ucloud_api.worker.state import State, current_state
from ucloud_api.writing.answers import answer, etag
from ucloud_api.writing.change import Changed, Plan, change, told, write
from ucloud_api.writing.creation import Creation, make
from ucloud_api.writing.removal import Removal, remove

_PATH = keys.PROJECT.rstrip("/")
_MOST_LEFT_AT_ONCE = 64
"""With an account, which goes in one transaction with its ssh keys."""

blueprint = APIBlueprint(
    "project",
    __name__,
    url_prefix=_PATH,
    abp_tags=[Tag(name="project", description="Who has things together, and how much of them")],
    abp_responses=documented(401, 409, 422, 429, 500, 503),
)
_CHANGED = {200: models.Project, **documented(400, 403, 404, 412, 413, 415)}


def _resource(project: Project, used: Amounts, caller: Caller) -> models.Project:
    return models.Project(
        name=project.name,
        owner=project.owner,
        role=caller.roles.get(project.owner),
        members=tuple(models.Member(user=user, role=role) for user, role in sorted(project.members.items())),
        quota=quota_resource(project.quota) if project.quota else None,
        used=quota_resource(used),
        generation=project.generation,
        created_at=project.created_at,
    )


def _check_may_see(name: str) -> Caller:
    """The caller; ApiProblem (404) when the project is not the caller's to see."""
    caller = current_caller()
    if not caller.may_see(project_owner(name)):
        raise not_found("project", name)
    return caller


def _check_may_manage(name: str) -> Caller:
    """The caller, an owner or an admin; ApiProblem (404, 403)."""
    caller = _check_may_see(name)
    if not caller.is_admin and caller.roles.get(project_owner(name)) is not MemberRole.OWNER:
        raise ApiProblem(403, "owners-only", f'only an owner of the project "{name}", or an admin, may do this')
    return caller


def _use(state: State, name: str) -> Amounts:
    budget = admission.read_budget(state.store, project_owner(name))
    return budget.used if budget else Amounts()


def _known(current: Project | None, name: str) -> Project:
    if current is None:
        raise not_found("project", name)
    return current


@blueprint.post("", summary="Create a project", responses={201: models.Project, **documented(400, 403, 404, 413, 415)})
def create(body: models.ProjectCreate) -> Response:
    """Make a project, with one owner."""
    caller, state, key = require_admin(), current_state(), keys.project(body.name)
    owner = body.owner or caller.user
    project = Project(
        name=body.name,
        members={owner: MemberRole.OWNER},
        quota=quota_of(body.quota, DEFAULT_QUOTA),
        created_at=datetime.now(UTC),
    )
    role = MemberRole.OWNER if owner == caller.user else None
    resource = _resource(project, Amounts(), caller).model_copy(update={"role": role}).model_dump_json().encode()

    def draft() -> tuple[bytes, Step]:
        made = Step((absent(key), present(keys.account(owner))), (Put(key, project.to_json()),))
        return resource, made + told(state, None, project)

    def refuse(conflict: Conflict) -> None:
        _refuse_unknown_user(owner, conflict)
        problem = FieldProblem(field="name", problem="is taken")
        raise ApiProblem(409, "name-taken", f'there is a project "{body.name}" already', [problem]) from conflict

    return make(state, Creation(state.projects, f"{_PATH}/{body.name}", "it", draft, refuse, status=201))


def _refuse_unknown_user(user: str, conflict: Conflict) -> None:
    """ApiProblem (404) when a transaction failed because there is no such user."""
    if keys.account(user) in conflict.keys:
        raise not_found("user", user) from conflict


@blueprint.get("", summary="List projects", responses={200: models.ProjectList})
def list_projects(query: models.UserQuery) -> Response:
    """The projects that the caller is in, oldest first; all for an admin."""
    state, caller, after = current_state(), current_caller(), int(query.cursor or 0)
    state.await_caches(state.projects)
    found = sorted(
        (
            cached
            for cached in state.projects.records().values()
            if cached.create_revision > after and caller.may_see(cached.record.owner)
        ),
        key=lambda cached: cached.create_revision,
    )
    shown = found[: query.limit]
    used = (
        use_of_all(state) if caller.is_admin else {each.record.owner: _use(state, each.record.name) for each in shown}
    )
    items = tuple(_resource(each.record, used.get(each.record.owner, Amounts()), caller) for each in shown)
    more = str(shown[-1].create_revision) if len(found) > len(shown) else None
    return answer(models.ProjectList(items=items, next_cursor=more))


@blueprint.get("/<name>", summary="Show a project", responses={200: models.Project, **documented(404)})
def show(path: models.ProjectPath) -> Response:
    """One project, with its members, its quota and what is charged to it."""
    caller, state = _check_may_see(path.name), current_state()
    entry = state.store.get(keys.project(path.name))
    if entry is None:
        raise not_found("project", path.name)
    resource = _resource(Project.read(entry.key, entry.value), _use(state, path.name), caller)
    return answer(resource, headers={"ETag": etag(entry.mod_revision)})


@blueprint.patch("/<name>", summary="Change a project", responses=_CHANGED)
def patch(path: models.ProjectPath, body: models.ProjectPatch) -> Response:
    """Say how much may be charged to a project: that is for admins."""
    _check_may_see(path.name)
    require_admin()
    return _changed(path.name, lambda project: {"quota": quota_of(body.quota, project.quota or DEFAULT_QUOTA)})


@blueprint.delete(
    "/<name>",
    summary="Delete a project",
    responses={204: {"description": "The project is gone."}, **documented(403, 404, 412)},
)
def delete(path: models.ProjectPath) -> Response:
    """Remove a project that owns nothing any more."""
    _check_may_manage(path.name)
    state, name = current_state(), path.name

    def refuse(conflict: Conflict) -> None:
        refuse_if_owner(state, project_owner(name), conflict)

    missing = not_found("project", name)
    remove(state, Removal(Project, keys.project(name), missing, admission.delete_project, refuse, state.projects))
    return Response(status=204)


@blueprint.post(
    "/<name>/member",
    summary="Add a member to a project",
    responses={201: models.Project, **documented(400, 403, 404, 413, 415)},
)
def add_member(path: models.ProjectPath, body: models.MemberCreate) -> Response:
    """Have a user in the project, who sees its things from now on."""
    caller, state, name = _check_may_manage(path.name), current_state(), path.name

    def draft() -> tuple[bytes, Step]:
        entry = state.store.get(keys.project(name))
        project = _known(Project.read(entry.key, entry.value) if entry else None, name)
        _check_may_join(project, body.user)
        wanted = _with(project, {"members": {**project.members, body.user: body.role}})
        step = write(wanted, keys.project(name), entry.mod_revision if entry else 0) + told(state, project, wanted)
        step += Step((present(keys.account(body.user)),), ())
        return _resource(wanted, _use(state, name), caller).model_dump_json().encode(), step

    def refuse(conflict: Conflict) -> None:
        _refuse_unknown_user(body.user, conflict)

    location = f"{_PATH}/{name}/member/{body.user}"
    return make(state, Creation(state.projects, location, "the project", draft, refuse, status=201))


def _check_may_join(project: Project, user: str) -> None:
    if user in project.members:
        problem = FieldProblem(field="user", problem="is a member already")
        detail = f'"{user}" is in the project "{project.name}" already, as {project.members[user]}'
        raise ApiProblem(409, "member-already", detail, [problem])
    if len(project.members) >= MOST_MEMBERS:
        raise ApiProblem(409, "too-many-members", f"the project has {MOST_MEMBERS} members, which is the most")


@blueprint.patch("/<name>/member/<user>", summary="Change a member's role in a project", responses=_CHANGED)
def patch_member(path: models.MemberPath, body: models.MemberPatch) -> Response:
    """Have a member be owner, member or reader from now on."""
    _check_may_manage(path.name)

    def decide(project: Project) -> Mapping[str, object]:
        _check_is_member(project, path.user)
        members = {**project.members, path.user: body.role}
        _check_owner_stays(project, members)
        return {"members": members}

    return _changed(path.name, decide)


@blueprint.delete(
    "/<name>/member/<user>",
    summary="Remove a member from a project",
    responses={204: {"description": "The user is no member any more."}, **documented(403, 404, 412)},
)
def remove_member(path: models.MemberPath) -> Response:
    """Have a user see nothing of the project any more. Everybody may leave; the last owner can't."""
    if _check_may_see(path.name).user != path.user:
        _check_may_manage(path.name)

    def decide(project: Project) -> Mapping[str, object]:
        _check_is_member(project, path.user)
        members = {user: role for user, role in project.members.items() if user != path.user}
        _check_owner_stays(project, members)
        return {"members": members}

    _change(path.name, decide)
    return Response(status=204)


def _check_is_member(project: Project, user: str) -> None:
    if user not in project.members:
        raise not_found("member", user)


def _check_owner_stays(project: Project, members: Mapping[str, MemberRole]) -> None:
    """ApiProblem (409) when nobody would be left who could say who is in the project."""
    if MemberRole.OWNER not in members.values():
        raise ApiProblem(409, "last-owner", f'the project "{project.name}" has no other owner: make another one first')


def check_may_leave(user: str, projects: Listing) -> None:
    """ApiProblem (409) when a user can't leave all of these at once: as the only owner, or as there are too many."""
    read = (Project.read(entry.key, entry.value) for entry in projects.entries)
    left = [project for project in read if user in project.members]
    for project in left:
        _check_owner_stays(project, {name: role for name, role in project.members.items() if name != user})
    if len(left) > _MOST_LEFT_AT_ONCE:
        detail = f'"{user}" is in {len(left)} projects: remove it from all but {_MOST_LEFT_AT_ONCE} of them first'
        raise ApiProblem(409, "in-many-projects", detail)


def _with(project: Project, update: Mapping[str, object]) -> Project:
    wanted = project.model_copy(update=dict(update))
    return project if wanted == project else wanted.model_copy(update={"generation": project.generation + 1})


def _change(name: str, decide: Callable[[Project], Mapping[str, object]]) -> Changed[Project]:
    """Change a project's fields as `decide` says, which raises an ApiProblem to refuse."""
    state = current_state()

    def made(current: Project | None) -> Project:
        project = _known(current, name)
        return _with(project, decide(project))

    return change(state, Plan(state.projects, Project, keys.project(name), made))


def _changed(name: str, decide: Callable[[Project], Mapping[str, object]]) -> Response:
    changed = _change(name, decide)
    resource = _resource(changed.record, _use(current_state(), name), current_caller())
    return answer(resource, 200, {"ETag": etag(changed.revision)})
