"""What a refusal of the API means to a user."""

import json
from typing import Any

import pytest

from ucloud_cli.errors import ApiAway, CliError, Misused, NotAllowed, NotFound, Refused
from ucloud_cli.problems import error_of

URL = "http://[::1]:8080"


def error(status: int, headers: dict[str, str] | None = None, **problem: Any) -> CliError:
    body = {"type": "about:blank", "title": "Title", "status": status, "detail": "the detail", **problem}
    return error_of(status, headers or {}, json.dumps(body), URL, "type: ucloud login")


@pytest.mark.parametrize(
    ("status", "meaning", "exit_status"),
    [
        (400, Misused, 2), (401, NotAllowed, 3), (403, NotAllowed, 3), (404, NotFound, 4), (409, Refused, 5),
        (413, Misused, 2), (422, Misused, 2), (429, ApiAway, 6), (500, CliError, 1), (502, ApiAway, 6),
        (503, ApiAway, 6),
    ],
)  # fmt: skip
def test_each_status_has_a_meaning(status: int, meaning: type[CliError], exit_status: int) -> None:
    found = error(status)
    assert (type(found), found.exit_code) == (meaning, exit_status)


def test_an_unknown_caller_is_told_to_log_in() -> None:
    assert error(401).message == "type: ucloud login"


def test_over_quota_is_refused_as_things_stand_and_says_where_the_figures_are() -> None:
    found = error(403, type="urn:ucloud:problem:over-quota", detail="cpu: 20 of 20 are used")
    assert isinstance(found, Refused)
    assert found.message == "cpu: 20 of 20 are used (ucloud whoami shows your quota and what of it is used)"


def test_fields_are_told_as_the_options_that_set_them() -> None:
    fields = [
        {"field": "specs.ram", "problem": "is too small", "allowed": "64MiB or more."},
        {"field": "quota.cpu", "problem": "is too large"},
        {"field": "name", "problem": "is taken", "allowed": ["a", "b"]},
        {"field": "other", "problem": "is unknown"},
    ]
    assert error(422, errors=fields).message == (
        "--ram is too small (allowed: 64MiB or more); --cpu is too large; the name is taken (allowed: a, b); "
        "other is unknown"
    )


def test_what_may_work_later_says_when_and_how_long_trying_makes_sense() -> None:
    away = error(503, {"Retry-After": "7"})
    assert isinstance(away, ApiAway)
    assert away.retry_after_s == 7
    assert away.patience_s > 7
    silent_host = error(502)
    assert isinstance(silent_host, ApiAway)
    assert silent_host.patience_s == 0
    assert error(429, {"Retry-After": "30"}).format_message() == "the detail; try again in 30 s"


def test_a_wrong_store_is_told_by_its_option() -> None:
    wrong = {"field": "store", "problem": "is no image store", "allowed": ["default", "fast"]}
    assert error(422, errors=[wrong]).message == "--store is no image store (allowed: default, fast)"


@pytest.mark.parametrize("body", ["<html>", "", "[]", '"x"', '{"a": 1}', b"\xff"])
def test_what_is_not_the_api_is_said_to_be_so(body: str | bytes) -> None:
    assert "is not the API of ucloud" in error_of(404, {}, body, URL, "").message
    away = error_of(502, {}, body, URL, "")
    assert isinstance(away, ApiAway)
    assert away.patience_s > 0


def test_no_control_characters_reach_the_terminal() -> None:
    assert error(404, detail="there is no\n\x1b[31mVM\x07 here").message == "there is no [31mVM here"
