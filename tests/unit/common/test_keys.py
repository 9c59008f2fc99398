"""The names in etcd."""

import re
from pathlib import Path

from common import keys

PROJECT = Path(__file__).parents[3]


def test_a_host_sees_nothing_of_a_host_whose_name_begins_like_its_own() -> None:
    assert not keys.placement("h10", "x").startswith(keys.placements("h1"))
    assert not keys.vm_status("h10", "x").startswith(keys.vm_statuses("h1"))


def test_ids_are_found_in_keys() -> None:
    assert keys.host_and_vm(keys.placement("h1", "x")) == ("h1", "x")
    assert keys.last_part(keys.alive("h1")) == "h1"


def test_only_the_keys_module_and_the_http_routes_spell_the_root() -> None:
    pattern = re.compile(r"""["']/v1/""")
    spellers = {
        str(path.relative_to(PROJECT))
        for folder in ("common", "ucloud_scheduler", "ucloud_host", "ucloud_vm", "ucloud_image")
        for path in (PROJECT / folder).rglob("*.py")
        if pattern.search(path.read_text(encoding="utf-8"))
    }
    assert spellers == {"common/keys.py"}
