"""Refusals: RFC 9457 problems that name the field, in words; and none that tells more than it should."""

import logging

import pytest
from flask import Flask
from pydantic import BaseModel, ValidationError

from common.errors import MalformedRecord, QuotaExceeded, Refused, Unavailable
from ucloud_api import models, problems
from ucloud_api.problems import ApiProblem, FieldProblem


def refusal(model: type[BaseModel], body: object) -> problems.Problem:
    with pytest.raises(ValidationError) as caught:
        model.model_validate(body)
    return problems.Problem.model_validate_json(problems.invalid(caught.value).get_data())


def test_values_that_are_allowed_are_listed() -> None:
    (error,) = refusal(models.VmPatch, {"requested": "DELETED"}).errors
    assert error.allowed == ["RUNNING", "SUSPENDED", "STOPPED"]
    (error,) = refusal(models.HostPatch, {"state": "on"}).errors
    assert error.allowed == ["enabled", "draining", "disabled"]


def test_a_form_is_told_in_words() -> None:
    (error,) = refusal(models.ImageCreate, {"name": "X", "file": "f"}).errors
    assert (error.field, error.problem) == ("name", "is not of the allowed form")
    assert (
        error.allowed
        == "1 to 63 lower-case letters, digits, dots, hyphens and underscores; a letter or digit at either end."
    )
    assert "^" not in str(error.allowed)


def test_nested_fields_are_found() -> None:
    (error,) = refusal(models.HostPatch, {"overcommit": {"cpu": 65}}).errors
    assert error == FieldProblem(field="overcommit.cpu", problem="is too large", allowed="A number from 0.1 to 64.")


@pytest.mark.parametrize(
    ("body", "field", "problem", "allowed"),
    [
        ({"affinity": [{"group": "W", "apart": True}]}, "affinity.0.group", "is not of the allowed form", "1 to 63"),
        ({"affinity": [{"group": "w"}]}, "affinity.0.apart", "is required", "True: on no host"),
        (
            {"affinity": [{"group": "w", "apart": True}] * 2},
            "affinity",
            "names a group twice",
            "each group once",
        ),
        (
            {"affinity": [{"group": f"w{n}", "apart": True} for n in range(17)]},
            "affinity",
            "has too many",
            "Its groups",
        ),
        ({"host_labels": {"Disk": "ssd"}}, "host_labels.Disk", "is not of the allowed form", "Only hosts with all"),
        ({"host_labels": {"disk": "s s"}}, "host_labels.disk", "is not of the allowed form", "Only hosts with all"),
        ({"priority": 101}, "priority", "is too large", "Where room is short"),
        ({"ha": 1}, "ha", "must be true or false", "True: when its host is dead"),
    ],
)
def test_where_a_vm_goes_is_told_in_words(body: object, field: str, problem: str, allowed: str) -> None:
    (error,) = refusal(models.VmPatch, body).errors
    assert (error.field, error.problem) == (field, problem)
    assert allowed in str(error.allowed)


def test_a_host_is_labelled_and_kept_in_words_too() -> None:
    (error,) = refusal(models.HostPatch, {"labels": {"disk": 1}}).errors
    assert (error.field, error.problem) == ("labels.disk", "must be a string")
    (error,) = refusal(models.HostPatch, {"tenants": ["alice", "Bob"]}).errors
    assert error.field == "tenants.1"
    assert models.HostPatch.model_validate({"tenants": []}).tenants == ()
    assert models.HostPatch.model_validate({"labels": {"disk": None}}).labels == {"disk": None}


def test_the_bad_value_is_not_repeated() -> None:
    problem = refusal(models.VmCreate, {"name": "pa$$word", "image": "x", "specs": {"cpu": "pa$$word"}})
    assert "pa$$word" not in problem.model_dump_json()


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (ApiProblem(409, "name-taken", "it is"), 409, "urn:ucloud:problem:name-taken"),
        (Unavailable("etcd", "[::1]:2379: refused", 7), 503, "urn:ucloud:problem:etcd-unavailable"),
        (
            QuotaExceeded("ann", {"ram_mib": "RAM: 2 GiB more asked for, 1 GiB of 2 GiB in use"}),
            403,
            "urn:ucloud:problem:over-quota",
        ),
        (Refused("RESOURCE_EXHAUSTED", "no space"), 503, "urn:ucloud:problem:etcd-refused"),
        (MalformedRecord("/v1/vm/1", "not JSON"), 409, "urn:ucloud:problem:malformed-record"),
        (RuntimeError("the password is s3cret"), 500, "about:blank"),
    ],
)
def test_every_error_is_a_problem(error: Exception, status: int, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    app = Flask("test")
    problems.register(app)

    @app.get("/")
    def fail() -> str:
        raise error

    with caplog.at_level(logging.INFO):
        answer = app.test_client().get("/")
    assert answer.status_code == status
    assert answer.content_type == "application/problem+json"
    assert answer.get_json()["type"] == kind
    assert answer.get_json()["status"] == status
    assert "s3cret" not in answer.text
    assert ("Retry-After" in answer.headers) == (status == 503)
