"""What the API takes lies within what the records hold: what is accepted can always be written."""

import itertools
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from common.schemas.vm import Specs
from ucloud_api import models
from ucloud_api.vms.sizing import specs_of

SPECS: dict[str, Any] = {"cpu": 1, "ram": 1, "ssd": 1}
EDGES: dict[str, list[object]] = {
    "cpu": [1, 512],
    "ram": ["64MiB", 65536, "64TiB"],
    "ssd": ["1MiB", 1, "1024TiB", ["1MiB"], [1] * 8, ["1024TiB"] * 8],
    "hdd": [0, "0MiB", "1024TiB", [], [1] * 7],
}


@pytest.mark.parametrize(("field", "value"), [(field, value) for field, values in EDGES.items() for value in values])
def test_the_largest_and_the_smallest_can_be_written(field: str, value: object) -> None:
    wanted = models.SpecsIn.model_validate({**SPECS, field: value})
    specs = specs_of(wanted)
    assert Specs.model_validate(specs.model_dump()) == specs


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("cpu", 513),
        ("ram", "63MiB"),
        ("ram", 65537),
        ("ssd", 0),
        ("ssd", "1025TiB"),
        ("hdd", "1025TiB"),
        ("ssd", []),
        ("ssd", [1, 0]),
        ("hdd", [0]),
        ("ssd", [1] * 9),
        ("hdd", [1] * 8),
    ],
)
def test_one_more_can_not(field: str, value: object) -> None:
    with pytest.raises(ValidationError):
        models.SpecsIn.model_validate({**SPECS, field: value})


def test_every_field_that_is_taken_says_what_is_allowed() -> None:
    taken: list[type[BaseModel]] = [
        models.SpecsIn, models.VmCreate, models.VmPatch, models.HostPatch, models.OvercommitPatch, models.ImageCreate,
        models.SpecsPatch, models.VmForceVerb, models.VmVerb, models.ImagePatch,
        models.NetworkCreate, models.NetworkPatch, models.NetworkQuery, models.PortIn, models.PortPath, models.RuleIn,
        models.SecurityGroupCreate, models.SecurityGroupPatch, models.SecurityGroupQuery, models.SshKeyCreate,
        models.SshKeyPath, models.VmQuery, models.ImageQuery, models.LogQuery, models.ThingPath, models.HostPath,
        models.WatchQuery,
    ]  # fmt: skip
    fields = itertools.chain.from_iterable(model.model_fields.items() for model in taken)
    assert [name for name, field in fields if not field.description] == []


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"force": False},
        {"specs": {}},
        {"specs": {"ssd": None}},
        {"force": True},
        {"requested": "RUNNING", "force": True},
    ],
)
def test_a_change_that_changes_nothing_or_contradicts_itself_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        models.VmPatch.model_validate(change)
