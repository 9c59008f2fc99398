"""Both shapes of a request, and what is wrong with a bad one."""

from typing import Any

import pytest

from ucloud_otp.bodies import FieldErrors, caller_of, new_entry_of, subject_of
from ucloud_otp.verifier import Claim

OLD = {"name": "a", "realm": "r", "token": "1", "verifyname": "b", "verifyrealm": "s", "verifytoken": "2"}
NEW = {"auth_name": "a", "auth_realm": "r", "auth_token": "1", "name": "b", "realm": "s", "token": "2"}


@pytest.mark.parametrize("body", [OLD, NEW])
def test_both_shapes_say_who_asks_about_whom(body: dict[str, Any]) -> None:
    assert caller_of(body) == Claim("a", "r", "1")
    assert subject_of(body) == Claim("b", "s", "2")


def test_an_integer_counts_as_its_digits_and_white_space_around_does_not_count() -> None:
    assert subject_of({**OLD, "verifytoken": 123456, "verifyname": " b "}) == Claim("b", "s", "123456")


BAD: list[tuple[Any, str]] = [
    (None, "This field may not be null."),
    ("", "This field may not be blank."),
    (" ", "This field may not be blank."),
    (True, "Not a valid string."),
    (1.5, "Not a valid string."),
    ([], "Not a valid string."),
    ({}, "Not a valid string."),
    ("x" * 129, "Ensure this field has no more than 128 characters."),
    (10**5000, "Ensure this field has no more than 128 characters."),
]


@pytest.mark.parametrize(("value", "problem"), BAD, ids=[problem for _, problem in BAD])
def test_a_wrong_field_is_named_and_a_wrong_caller_is_nobody(value: Any, problem: str) -> None:
    with pytest.raises(FieldErrors) as raised:
        subject_of({**OLD, "verifyname": value})
    assert raised.value.errors == {"verifyname": [problem]}
    assert caller_of({**OLD, "name": value}) is None


def test_each_missing_field_is_named() -> None:
    with pytest.raises(FieldErrors) as raised:
        subject_of({"name": "a", "realm": "r", "token": "1"})
    missing = ["This field is required."]
    assert raised.value.errors == {"verifyname": missing, "verifyrealm": missing, "verifytoken": missing}


@pytest.mark.parametrize("name", ["a/b", "../x", "a b", "ü", "-a", "a\n", "a\0b"])
def test_a_name_that_can_be_no_part_of_a_key_is_refused_and_nobodys(name: str) -> None:
    if name.strip() == name:
        with pytest.raises(FieldErrors):
            new_entry_of({"name": name, "realm": "ucloud"})
    assert not Claim(name, "ucloud", "1").can_be()
    assert not Claim("a", name, "1").can_be()


def test_a_token_is_in_no_text_about_its_claim() -> None:
    assert "123456" not in repr(Claim("a", "r", "123456"))
