"""Pages: nothing twice, nothing left out, whatever comes and goes between them."""

from pydantic import BaseModel

from common.cache import Cached
from common.schemas.record import Record
from ucloud_api.writing.answers import names_of, page


class Thing(Record):
    """A record of the test."""

    name: str


class View(BaseModel):
    """A resource of the test."""

    name: str


def things(*revisions: int) -> dict[str, Cached[Thing]]:
    return {str(each): Cached(Thing(name=f"t{each}"), each, each + 100) for each in revisions}


def names(records: dict[str, Cached[Thing]], limit: int, cursor: str | None = None) -> tuple[list[str], str | None]:
    items, following = page(records, lambda thing: View(name=thing.name), lambda _: True, limit, cursor)
    return [item.name for item in items], following


def test_pages_are_in_order_of_creation() -> None:
    records = things(9, 3, 5)
    assert names(records, 2) == (["t3", "t5"], "5")
    assert names(records, 2, "5") == (["t9"], None)
    assert names(records, 3) == (["t3", "t5", "t9"], None)
    assert names({}, 3) == ([], None)


def test_what_comes_and_goes_shifts_nothing() -> None:
    records = things(3, 5, 9)
    _, cursor = names(records, 2)
    del records["5"], records["3"]
    records.update(things(11))
    assert names(records, 2, cursor) == (["t9", "t11"], None)


def test_a_page_holds_only_what_is_wanted() -> None:
    items, cursor = page(
        things(1, 2, 3, 4), lambda thing: View(name=thing.name), lambda view: view.name in ("t2", "t4"), 1, None
    )
    assert ([item.name for item in items], cursor) == (["t2"], "2")


def test_some_names_for_a_sentence() -> None:
    assert names_of(["b", "a"]) == "a, b"
    assert names_of([str(each) for each in range(5)], most=2) == "0, 1 and 3 more"
