"""How results are printed: columns, order, formats."""

import json
from typing import Any

import pytest
import yaml

from ucloud_cli.errors import Misused
from ucloud_cli.names import near
from ucloud_cli.output import Column, Layout, last_part, print_list, print_one, size

COLUMNS = {
    "NAME": Column(lambda each: each["name"]),
    "RAM": Column(lambda each: size(each["ram"])),
    "UUID": Column(lambda each: each["uuid"], wide=True),
}
ITEMS: list[dict[str, Any]] = [
    {"name": "vm10", "ram": 1, "uuid": "b"},
    {"name": "vm2", "ram": "512MiB", "uuid": "a"},
    {"name": "a", "ram": 16, "uuid": "c"},
]


def printed(capsys: pytest.CaptureFixture[str], layout: Layout) -> list[list[str]]:
    print_list(ITEMS, COLUMNS, layout)
    return [line.split() for line in capsys.readouterr().out.splitlines()]


def test_a_table_has_its_usual_columns_a_wide_one_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys, Layout())[:2] == [["NAME", "RAM"], ["vm10", "1GiB"]]
    assert printed(capsys, Layout("wide"))[:2] == [["NAME", "RAM", "UUID"], ["vm10", "1GiB", "b"]]


def test_chosen_columns_come_in_the_order_they_were_said_without_titles_if_so_wished(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert printed(capsys, Layout(columns=("UUID", "NAME"), header=False)) == [["b", "vm10"], ["a", "vm2"], ["c", "a"]]


@pytest.mark.parametrize(
    ("sort", "names"),
    [
        ("", ["vm10", "vm2", "a"]),
        ("NAME", ["a", "vm2", "vm10"]),
        ("-NAME", ["vm10", "vm2", "a"]),
        ("RAM", ["vm2", "vm10", "a"]),
        ("UUID", ["vm2", "vm10", "a"]),
    ],
)
def test_sorted_as_people_sort(capsys: pytest.CaptureFixture[str], sort: str, names: list[str]) -> None:
    assert [line[0] for line in printed(capsys, Layout(sort=sort, header=False))] == names


@pytest.mark.parametrize("layout", [Layout(columns=("NAME", "X")), Layout(sort="-X"), Layout(sort="X")])
def test_an_unknown_column_is_told_those_there_are(layout: Layout) -> None:
    with pytest.raises(Misused, match=r'no column "X" \(there are NAME, RAM, UUID\)'):
        layout.check(COLUMNS)


def test_data_has_no_columns() -> None:
    with pytest.raises(Misused, match="--columns"):
        Layout("json", columns=("NAME",)).check(COLUMNS)


def test_data_is_whole_and_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    print_list(ITEMS, COLUMNS, Layout("json", sort="NAME"))
    assert json.loads(capsys.readouterr().out) == [ITEMS[2], ITEMS[1], ITEMS[0]]
    print_one(ITEMS[0], {}, Layout("yaml"))
    assert yaml.safe_load(capsys.readouterr().out) == ITEMS[0]


def test_no_control_characters_reach_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    print_list([{"name": "\x1b[31mred", "ram": 1}], COLUMNS, Layout())
    assert "\x1b" not in capsys.readouterr().out


def test_values_for_people() -> None:
    assert (size(4), size("512MiB"), last_part("/v1/host/h1"), last_part(None)) == ("4GiB", "512MiB", "h1", "")


@pytest.mark.parametrize(
    ("name", "names", "hint"),
    [
        ("wbe", ["web", "db"], "; did you mean web?"),
        ("web1", ["web2", "web3", "db"], "; did you mean web3 or web2?"),
        ("x", ["web", "db"], "; there are db, web"),
        ("x", ["web"], "; there is web"),
        ("x", [], ""),
        ("x", [f"vm{number}" for number in range(99)], ""),
    ],
)
def test_names_that_may_have_been_meant(name: str, names: list[str], hint: str) -> None:
    assert near(name, names) == hint
