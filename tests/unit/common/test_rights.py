"""Who may read and write which key in etcd."""

import pytest

from common import keys, rights
from common.rights import OF_HOSTS, OWN, RIGHTS, User
from tests.samples import KEYS_OF_H1, OTHER_KEYS

H1 = rights.users_of_host("h1")
CONTROL = rights.users_of_control()


def _kinds() -> dict[str, str]:
    """The kinds of keys, by the names they have in common.keys."""
    return {name: value for name, value in vars(keys).items() if name.isupper() and f"{value}".startswith(keys.ROOT)}


@pytest.mark.parametrize(("name", "kind"), _kinds().items())
def test_it_is_said_of_every_kind_of_key_who_writes_it(name: str, kind: str) -> None:
    if name in ("ROOT", "NOTHING"):
        return
    assert any(right.writers for right in RIGHTS if right.key.startswith(kind)), (
        f"keys.{name}: add it to common/rights.py"
    )


def test_every_function_that_names_a_key_has_a_sample() -> None:
    sampled = {sample.partition("(")[0] for sample in (*KEYS_OF_H1, *OTHER_KEYS)}
    prefixes = {"placements", "vm_statuses", "network_statuses", "image_uses", "names", "charges", "endpoints"}
    prefixes |= {"addresses", "group_members", "group_uses", "ssh_keys", "events", "events_of", "login_doors", "files"}
    of_keys = {"name_parts", "reporter_of", "kind_and_thing", "last_part", "host_and_vm"}
    functions = {name for name, value in vars(keys).items() if callable(value)}
    assert functions - sampled - prefixes - of_keys == set(), "add a key of its kind to tests/samples.py"


def test_a_right_names_daemons_and_is_said_once() -> None:
    for right in RIGHTS:
        daemons = (*right.writers, *right.readers)
        assert set(daemons) <= {*rights.CONTROL, *OF_HOSTS}, right
        assert len(set(daemons)) == len(daemons), right
    assert len({right.key for right in RIGHTS}) == len(RIGHTS)


def test_what_hosts_write_below_their_names_is_their_own() -> None:
    for right in RIGHTS:
        if OWN in right.key:
            assert set(right.writers) <= set(OF_HOSTS), right


@pytest.mark.parametrize("daemon", [rights.META, rights.IPAM, rights.FIREWALL])
def test_what_guests_can_speak_to_writes_nothing(daemon: str) -> None:
    assert not any(writes for _, writes in User(daemon, "h1").rights())


def test_a_host_writes_nothing_of_another_one() -> None:
    told_by_all = (keys.VERDICT, keys.ENDPOINT, keys.leader("host"), keys.events_of(keys.JUDGE_REPORTER))
    for user in H1:
        for key, writes in user.rights():
            assert not writes or "h1" in key or key in told_by_all, (user, key)


@pytest.mark.parametrize("user", [*CONTROL, *H1], ids=lambda user: user.name)
def test_only_ucloud_otp_comes_near_seeds(user: User) -> None:
    is_otp = user.daemon == rights.OTP
    for key in (keys.otp("r", "n"), keys.otp_tries("r", "n")):
        assert (user.may(key, write=False), user.may(key, write=True)) == (is_otp, is_otp)


def test_the_api_orders_nothing_of_hosts_and_the_scheduler_touches_no_image() -> None:
    api, scheduler = User(rights.API), User(rights.SCHEDULER)
    for key in (keys.placement("h1", "x"), keys.host_status("h1"), keys.alive("h1"), keys.verdict("h1")):
        assert not api.may(key, write=True), key
    for key in (keys.image("x"), keys.image_status("x"), keys.account("a"), keys.session("s"), keys.network("n")):
        assert not scheduler.may(key, write=True), key


def test_h1_is_not_h10() -> None:
    for user in H1:
        for kind in (keys.host_status, keys.alive, keys.last_alive, keys.inventory):
            assert not user.may(kind("h10"), write=True)
