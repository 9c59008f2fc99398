"""Who may ask: bearer tokens that hold, and those that do not."""

import pytest
from flask.testing import FlaskClient

from common import keys
from common.store import Delete, present
from devcloud.waiting import wait_for
from tests.integration.ucloud_api.world import World, bearer
from ucloud_api.access.auth import TOKEN_PREFIX
from ucloud_api.access.sessions import digest


@pytest.mark.parametrize("path", ["/v1/vm", "/v1/vm/x", "/v1/image", "/v1/host", "/v1/nothing", "/"])
@pytest.mark.parametrize("header", ["", "Bearer", "Basic YTpi", "Bearer x", f"Bearer {TOKEN_PREFIX}x", "Bearer ü"])
def test_without_a_session_everything_is_a_401(nobody: FlaskClient, path: str, header: str) -> None:
    answer = nobody.get(path, headers={"Authorization": header} if header else {})
    assert answer.status_code == 401
    assert answer.content_type == "application/problem+json"
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert answer.get_json()["type"] == "urn:ucloud:problem:not-authenticated"


@pytest.mark.parametrize("path", ["/metrics", "/openapi/openapi.json"])
def test_what_is_open_needs_no_session(nobody: FlaskClient, path: str) -> None:
    assert nobody.get(path).status_code == 200


def test_a_session_holds_at_once_and_until_it_is_removed(nobody: FlaskClient, world: World) -> None:
    world.add_account("ann")
    token = world.log_in("ann")
    assert nobody.get("/v1/vm", headers=bearer(token)).status_code == 200
    world.remove(keys.session(digest(token)))
    wait_for("401", lambda: nobody.get("/v1/vm", headers=bearer(token)).status_code == 401, 30)


def test_an_expired_session_is_a_401(nobody: FlaskClient, world: World) -> None:
    world.add_account("ann")
    assert nobody.get("/v1/vm", headers=bearer(world.log_in("ann", ttl_s=-1))).status_code == 401


def test_a_deleted_user_of_the_same_name_is_another_user(nobody: FlaskClient, world: World) -> None:
    world.add_account("ann")
    token = world.log_in("ann")
    world.store.commit([present(keys.account("ann"))], [Delete(keys.account("ann"))])
    wait_for("401", lambda: nobody.get("/v1/vm", headers=bearer(token)).status_code == 401, 30)
    world.add_account("ann")
    assert nobody.get("/v1/vm", headers=bearer(world.log_in("ann"))).status_code == 200
    assert nobody.get("/v1/vm", headers=bearer(token)).status_code == 401
