"""/healthz and /metrics."""

from common.health import Health, create_app
from common.metrics import Metrics


def test_a_daemon_without_problems_is_ok_and_names_malformed_records() -> None:
    health = Health()
    health.add_check("cache", lambda: None)
    health.add_fact("role", lambda: "standby")
    health.add_malformed(lambda: {"/v1/vm/x": "not JSON"})
    answer = create_app("tester", health, Metrics()).test_client().get("/healthz")
    assert answer.status_code == 200
    assert answer.get_json() == {
        "status": "ok",
        "problems": {},
        "malformed_records": {"/v1/vm/x": "not JSON"},
        "role": "standby",
    }


def test_one_problem_makes_it_unhealthy_and_is_told() -> None:
    health = Health()
    health.add_check("cache", lambda: None)
    health.add_check("libvirt", lambda: "not connected")
    answer = create_app("tester", health, Metrics()).test_client().get("/healthz")
    assert answer.status_code == 503
    assert answer.get_json()["problems"] == {"libvirt": "not connected"}


def test_metrics_are_those_of_this_daemon_alone() -> None:
    one, other = Metrics(), Metrics()
    one.malformed.labels("/v1/vm/").inc()
    for metrics, expected in ((one, True), (other, False)):
        text = create_app("tester", Health(), metrics).test_client().get("/metrics").get_data(as_text=True)
        assert ('ucloud_malformed_records_total{prefix="/v1/vm/"} 1.0' in text) is expected
