"""Every route says who may use it."""

from common.settings import Settings
from ucloud_api.app import create_app
from ucloud_api.route_rights import RIGHTS
from ucloud_api.worker.state import State


def test_there_is_a_right_for_each_route_and_none_for_others() -> None:
    state = State(Settings())
    try:
        document = create_app(state).api_doc
    finally:
        state.close()
    routes = {f"{method.upper()} {path}" for path, methods in document["paths"].items() for method in methods}
    assert routes == set(RIGHTS), "say in ucloud_api/route_rights.py who may use it"
    told = {operation["x-right"] for methods in document["paths"].values() for operation in methods.values()}
    assert told == {right.value for right in RIGHTS.values()}
