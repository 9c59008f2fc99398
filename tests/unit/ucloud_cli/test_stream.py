"""Server-sent events, line by line."""

from ucloud_cli.stream import Event, parse

LINES = ["id: 7", 'data: {"a":1}', "", ": still here", "", "event: deleted", "data: x", "data:y", "id: 9", ""]


def test_events_carry_their_kind_their_data_and_the_last_id() -> None:
    assert list(parse(LINES)) == [Event("message", '{"a":1}', "7"), Event("deleted", "x\ny", "9")]


def test_an_event_that_is_cut_off_is_none() -> None:
    assert list(parse(LINES[:-1])) == [Event("message", '{"a":1}', "7")]


def test_an_event_without_an_id_keeps_the_one_before() -> None:
    assert list(parse(["id: 7", "data: a", "", "data: b", ""])) == [
        Event("message", "a", "7"),
        Event("message", "b", "7"),
    ]
