"""The sessions that a cloud lends to whoever started it, and takes back when it ends."""

from pathlib import Path

import pytest

from devcloud.people import ADMIN, USER, People
from ucloud_cli.contexts import Context, Contexts, ContextsFile

OTHERS = Contexts(current="work", contexts={"work": Context(url="https://api.example.com", user="carol", token="t")})


@pytest.fixture
def people(tmp_path: Path) -> People:
    """An admin and a user who are logged in."""
    people = People(tmp_path / "people")
    for name in (ADMIN, USER):
        context = Context(url="http://[::1]:8080", user=name, token=f"token of {name}")
        people.contexts.change(lambda contexts, name=name, context=context: contexts.with_context(name, context))  # type: ignore[misc]
    return people


def test_a_person_without_logins_has_none_afterwards_nor_a_file(people: People, tmp_path: Path) -> None:
    file = ContextsFile(tmp_path / "home/.config/ucloud/contexts.yaml")
    (tmp_path / "home").mkdir()
    assert people.lend(file, "dev")
    lent = file.read()
    assert lent.current == "dev"
    assert {name: each.user for name, each in lent.contexts.items()} == {"dev": USER, "dev-admin": ADMIN}
    assert file.path.stat().st_mode & 0o777 == 0o600
    people.take_back()
    assert list((tmp_path / "home").iterdir()) == []
    people.take_back()


def test_other_logins_stay_and_the_current_one_is_current_again(people: People, tmp_path: Path) -> None:
    file = ContextsFile(tmp_path / "contexts.yaml")
    file.change(lambda _: OTHERS)
    assert people.lend(file, "dev")
    assert file.read().current == "dev"
    assert people.lend(file, "dev"), "again"
    people.take_back()
    assert file.read() == OTHERS


def test_a_login_made_meanwhile_stays_current(people: People, tmp_path: Path) -> None:
    file = ContextsFile(tmp_path / "contexts.yaml")
    assert people.lend(file, "dev")
    file.change(lambda contexts: contexts.with_context("work", OTHERS.contexts["work"]).used("work"))
    people.take_back()
    assert file.read() == OTHERS


def test_a_new_session_is_lent_too(people: People, tmp_path: Path) -> None:
    file = ContextsFile(tmp_path / "contexts.yaml")
    people.lend(file, "dev")
    renewed = Context(url="http://[::1]:8080", user=USER, token="another")
    people.contexts.change(lambda contexts: contexts.with_context(USER, renewed))
    people.lend(file, "dev")
    assert file.read().contexts["dev"] == renewed


def test_a_login_of_the_same_name_elsewhere_is_not_replaced(people: People, tmp_path: Path) -> None:
    file = ContextsFile(tmp_path / "contexts.yaml")
    theirs = Contexts(current="dev", contexts={"dev": OTHERS.contexts["work"]})
    file.change(lambda _: theirs)
    assert not people.lend(file, "dev")
    people.take_back()
    assert file.read() == theirs
