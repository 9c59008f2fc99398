"""Projects: who is in them, what that lets them do, what is charged to whom, and what ends with it."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from flask.testing import FlaskClient

from common import keys
from common.schemas.image import ImageRequest
from common.schemas.project import Project
from common.schemas.role import MemberRole
from common.schemas.user import Quota
from common.store import Store
from tests.integration.daemons import DaemonProcess
from tests.integration.ucloud_api.client import Client
from tests.integration.ucloud_api.test_callers import Caller
from tests.integration.ucloud_api.world import World
from tests.unit.common.schemas.test_ssh_key import ED25519

SPECS = {"cpu": 1, "ram": 1, "ssd": 4}
WEB = "project:web"
VM = {"name": "www", "specs": SPECS, "image": "debian", "owner": WEB}


@pytest.fixture
def people(nobody: FlaskClient, world: World) -> Callable[[str], Caller]:
    """Users by name; the admin has made the project "web" of ann, bob reads in it, zoe is a stranger."""
    known = {name: Caller(nobody, world, name, is_admin=name == "admin") for name in ("admin", "ann", "bob", "zoe")}
    world.add_image()
    quota = {"vms": 2, "cpu": 3}
    made = known["admin"]("POST", "/v1/project", {"name": "web", "owner": "ann", "quota": quota})
    assert (made.status_code, made.headers["Location"]) == (201, "/v1/project/web")
    assert made.get_json()["role"] is None
    added = known["ann"]("POST", "/v1/project/web/member", {"user": "bob", "role": "reader"})
    assert (added.status_code, added.headers["Location"]) == (201, "/v1/project/web/member/bob")
    return known.__getitem__


def _error(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.get_json()["type"].rpartition(":")[2]


def test_a_project_from_creation_to_deletion(people: Callable[[str], Caller], world: World) -> None:
    admin, ann, bob = people("admin"), people("ann"), people("bob")
    shown = ann("GET", "/v1/project/web").get_json()
    assert (shown["owner"], shown["role"], shown["generation"]) == (WEB, "owner", 2)
    assert shown["members"] == [{"user": "ann", "role": "owner"}, {"user": "bob", "role": "reader"}]
    assert (shown["quota"]["vms"], shown["used"]["vms"]) == (2, 0)
    assert [caller.names("/v1/project") for caller in (admin, ann, bob, people("zoe"))] == [["web"]] * 3 + [[]]
    made = ann("POST", "/v1/vm", VM).get_json()
    assert (made["owner"], ann("GET", "/v1/project/web").get_json()["used"]["vms"]) == (WEB, 1)
    assert _error(ann("DELETE", "/v1/project/web")) == (409, "owns-things")
    assert "vm: 1" in ann("DELETE", "/v1/project/web").get_json()["detail"]
    assert ann("DELETE", f"/v1/vm/{made['uuid']}").status_code == 202
    world.forget(made["uuid"])
    before = [entry.key for entry in world.store.list(keys.ROOT).entries if "web" in entry.key]
    assert before[1:]
    assert all(key.startswith(keys.EVENT) for key in before if key != keys.project("web"))
    told = [event["what"] for event in bob("GET", "/v1/project/web/events").get_json()["items"]]
    assert told == ["created: with ann=owner", "bob is reader now"]
    assert ann("DELETE", "/v1/project/web").status_code == 204
    assert ann("GET", "/v1/project/web").status_code == admin("GET", "/v1/project/web").status_code == 404
    assert ann("POST", "/v1/vm", VM).status_code == 404


def test_a_name_is_taken_once_and_owners_must_exist(people: Callable[[str], Caller]) -> None:
    admin = people("admin")
    assert _error(admin("POST", "/v1/project", {"name": "web"})) == (409, "name-taken")
    assert _error(admin("POST", "/v1/project", {"name": "db", "owner": "nobody"})) == (404, "user-not-found")
    assert _error(people("ann")("POST", "/v1/project/web/member", {"user": "nobody"})) == (404, "user-not-found")
    assert _error(admin("POST", "/v1/project", {"name": "project:x"})) == (422, "invalid-fields")
    assert _error(people("ann")("POST", "/v1/project/web/member", {"user": "bob"})) == (409, "member-already")
    assert _error(admin("POST", "/v1/vm", {**VM, "owner": "project:db"})) == (404, "project-not-found")


def test_what_a_project_has_is_charged_to_its_quota_and_not_to_its_members(
    people: Callable[[str], Caller], world: World
) -> None:
    admin, ann = people("admin"), people("ann")
    world.add_account("ann", quota=Quota(vms=0))
    assert ann("POST", "/v1/vm", {**VM, "owner": "ann"}).status_code == 403
    vms = [ann("POST", "/v1/vm", {**VM, "name": f"www-{number}"}) for number in range(3)]
    assert [each.status_code for each in vms] == [202, 202, 403]
    assert _error(vms[2]) == (403, "over-quota")
    path = vms[0].headers["Location"]
    assert ann("PATCH", path, {"specs": {"cpu": 2}}).status_code == 202
    assert _error(ann("PATCH", path, {"specs": {"cpu": 3}})) == (403, "over-quota")
    assert _error(ann("PATCH", "/v1/project/web", {"quota": {"vms": 3}})) == (403, "admins-only")
    assert admin("PATCH", "/v1/project/web", {"quota": {"vms": 3, "cpu": 9}}).get_json()["quota"]["vms"] == 3
    assert ann("POST", "/v1/vm", {**VM, "name": "www-2"}).status_code == 202
    assert ann("GET", "/v1/user/ann").get_json()["used"]["vms"] == 0


def test_several_members_at_once_never_exceed_the_quota(people: Callable[[str], Caller]) -> None:
    ann, statuses = people("ann"), []

    def create(number: int) -> None:
        statuses.append(ann("POST", "/v1/vm", {**VM, "name": f"www-{number}"}).status_code)

    threads = [threading.Thread(target=create, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [202] * 2 + [403] * 6
    assert ann("GET", "/v1/project/web").get_json()["used"]["vms"] == 2


def test_names_are_free_for_each_owner(people: Callable[[str], Caller]) -> None:
    ann, zoe = people("ann"), people("zoe")
    for owner in (WEB, "ann"):
        assert ann("POST", "/v1/vm", {**VM, "owner": owner}).status_code == 202
    assert zoe("POST", "/v1/vm", {**VM, "owner": "zoe"}).status_code == 202
    assert _error(ann("POST", "/v1/vm", VM)) == (409, "name-taken")
    assert ann.names("/v1/vm") == ["www", "www"]
    assert ann.names(f"/v1/vm?owner={WEB}") == ann.names("/v1/vm?owner=ann") == ["www"]
    assert zoe.names(f"/v1/vm?owner={WEB}") == zoe.names("/v1/vm?owner=ann") == []


def test_a_reader_uses_nothing_of_the_project_for_its_own(people: Callable[[str], Caller], world: World) -> None:
    ann, bob = people("ann"), people("bob")
    image = world.add_image("golden", owner=WEB, public=False)
    network = ann("POST", "/v1/network", {"name": "lan", "owner": WEB}).get_json()["uuid"]
    group = ann("POST", "/v1/security-group", {"name": "in", "owner": WEB}).get_json()["uuid"]
    own = {**VM, "owner": "bob"}
    for body in (
        {**own, "image": image},
        {**own, "networks": [{"network": network}]},
        {**own, "networks": [{"network": network, "security_groups": [group]}]},
    ):
        assert bob("POST", "/v1/vm", body).status_code == 404
    rules = [{"group": group}]
    assert bob("POST", "/v1/security-group", {"name": "mine", "rules": rules}).status_code == 404
    assert ann("PATCH", "/v1/project/web/member/bob", {"role": "member"}).status_code == 200
    everything = {**VM, "image": "golden", "networks": [{"network": "lan", "security_groups": ["in"]}]}
    assert bob("POST", "/v1/vm", everything).status_code == 202
    assert bob("POST", "/v1/security-group", {"name": "mine", "rules": rules}).status_code == 201


def test_the_guests_of_a_project_let_in_who_made_them_and_its_images_come_from_the_makers_folder(
    people: Callable[[str], Caller], store: Store
) -> None:
    ann, world = people("ann"), World(store)
    key = ann("POST", "/v1/user/ann/ssh-key", {"name": "laptop", "key": ED25519}).get_json()
    vm = ann("POST", "/v1/vm", VM).get_json()
    assert vm["ssh_keys"] == [key["fingerprint"]]
    uuid = ann("POST", "/v1/image", {"name": "golden", "file": "f", "owner": WEB}).get_json()["uuid"]
    entry = world.store.get(keys.image(uuid))
    assert entry
    assert ImageRequest.read(entry.key, entry.value).uploaded_by == "ann"


def test_somebody_can_always_say_who_is_in_it(people: Callable[[str], Caller]) -> None:
    admin, ann, bob = people("admin"), people("ann"), people("bob")
    for refused in (
        ann("DELETE", "/v1/project/web/member/ann"),
        ann("PATCH", "/v1/project/web/member/ann", {"role": "member"}),
        admin("DELETE", "/v1/user/ann"),
    ):
        assert _error(refused) == (409, "last-owner")
    assert ann("PATCH", "/v1/project/web/member/bob", {"role": "owner"}).status_code == 200
    assert ann("DELETE", "/v1/project/web/member/ann").status_code == 204
    assert _error(ann("GET", "/v1/project/web")) == (404, "project-not-found")
    assert _error(bob("DELETE", "/v1/project/web/member/ann")) == (404, "member-not-found")


def test_everybody_may_leave_and_readers_may_not_make_others_leave(people: Callable[[str], Caller]) -> None:
    ann, bob = people("ann"), people("bob")
    assert ann("POST", "/v1/project/web/member", {"user": "zoe"}).status_code == 201
    assert _error(bob("DELETE", "/v1/project/web/member/zoe")) == (403, "owners-only")
    assert _error(people("zoe")("DELETE", "/v1/project/web/member/bob")) == (403, "owners-only")
    assert bob("DELETE", "/v1/project/web/member/bob").status_code == 204
    assert bob("GET", "/v1/project/web").status_code == 404


def test_a_deleted_user_leaves_its_projects_and_one_of_the_same_name_is_in_none(
    people: Callable[[str], Caller], nobody: FlaskClient, world: World
) -> None:
    admin, ann = people("admin"), people("ann")
    assert admin("DELETE", "/v1/user/bob").status_code == 204
    assert ann("GET", "/v1/project/web").get_json()["members"] == [{"user": "ann", "role": "owner"}]
    again = Caller(nobody, world, "bob")
    assert again("GET", "/v1/project/web").status_code == 404
    assert again.names("/v1/project") == []


def test_a_change_that_somebody_else_was_faster_with_is_refused(people: Callable[[str], Caller]) -> None:
    ann = people("ann")
    seen = ann("GET", "/v1/project/web").headers["ETag"]
    changed = ann("PATCH", "/v1/project/web/member/bob", {"role": "member"})
    assert changed.headers["ETag"] != seen
    headers = {"If-Match": seen}
    stale = ann._client.delete("/v1/project/web/member/bob", headers={**ann._headers, **headers})
    assert stale.status_code == 412


def test_a_list_that_is_followed_shows_a_project_as_soon_as_one_is_in_it_and_no_longer(
    served: DaemonProcess, world: World
) -> None:
    admin = Client.logged_in(served, world, "admin", is_admin=True)
    ann, bob = (Client.logged_in(served, world, name) for name in ("ann", "bob"))
    world.add_image()
    assert admin.post("/project", json={"name": "web", "owner": "ann"}).status_code == 201
    vm = ann.post("/vm", json=VM).json()["uuid"]
    follower = bob.follow("/vm?watch=1")
    before = bob.get("/vm").json()["items"]
    assert before == []
    assert ann.post("/project/web/member", json={"user": "bob", "role": "reader"}).status_code == 201
    assert follower.ended(), "its rights have changed"
    assert [each["uuid"] for each in bob.get("/vm").json()["items"]] == [vm]
    resumed = bob.follow("/vm?watch=1", last_event_id="5")
    assert resumed.next().name == "reset"
    told = resumed.next()
    assert told.data["uuid"] == vm
    assert ann.delete("/project/web/member/bob").status_code == 204
    assert resumed.ended()
    assert bob.get("/vm").json()["items"] == []
    assert bob.get(f"/vm/{vm}").status_code == 404
    again = bob.follow("/vm?watch=1", last_event_id=told.id)
    assert again.next().name == "reset"
    again.leave()


def test_who_is_in_too_many_projects_to_leave_them_at_once_is_told_so(
    people: Callable[[str], Caller], world: World
) -> None:
    admin = people("admin")
    for number in range(65):
        members = {"ann": MemberRole.OWNER, "zoe": MemberRole.READER}
        project = Project(name=f"p{number}", members=members, created_at=datetime.now(UTC))
        world.put(keys.project(project.name), project)
    assert _error(admin("DELETE", "/v1/user/zoe")) == (409, "in-many-projects")
    assert admin("DELETE", "/v1/project/p0/member/zoe").status_code == 204
    assert admin("DELETE", "/v1/user/zoe").status_code == 204
    left = [Project.read(entry.key, entry.value).members for entry in world.store.list(keys.PROJECT).entries]
    assert not [members for members in left if "zoe" in members]
