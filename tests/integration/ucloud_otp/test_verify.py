"""POST /ungleichotp/verify/: its answers, that a token is right once, and that guessing is hopeless."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from common import keys
from common.schemas.otp import OtpEntry, OtpTries
from common.store import Put, Store, unchanged
from devcloud.etcd import EtcdCluster
from tests.integration.daemons import DEADLINE_S
from tests.integration.ucloud_otp_server import OtpServer, Person
from ucloud_otp.entries import Entries

NOT_AUTHENTICATED = {"detail": "Incorrect authentication credentials."}
NOT_PERMITTED = {"detail": "You do not have permission to perform this action."}


def entry_of(store: Store, person: Person) -> OtpEntry:
    key = keys.otp(person.realm, person.name)
    entry = store.get(key)
    assert entry
    return OtpEntry.read(key, entry.value)


@pytest.mark.parametrize("shape", ["2018", "2019"])
def test_a_right_token_is_ok_in_both_shapes(server: OtpServer, service: Person, ann: Person, shape: str) -> None:
    old = {**service.as_caller(), **ann.as_subject()}
    new = {**service.as_auth(), **ann.as_caller()}
    answer = server.verify(**(old if shape == "2018" else new))
    assert (answer.status_code, answer.json()) == (200, {"status": "OK"})


def test_a_form_is_read_too(server: OtpServer, service: Person, ann: Person) -> None:
    answer = requests.post(f"{server.url}verify/", data={**service.as_caller(), **ann.as_subject()}, timeout=DEADLINE_S)
    assert answer.json() == {"status": "OK"}


def test_a_token_is_right_once_also_after_a_crash(server: OtpServer, service: Person, ann: Person) -> None:
    token = ann.token()
    body = {**service.as_caller(), **ann.as_subject(token)}
    assert server.verify(**body).status_code == 200
    assert server.verify(**body).status_code == 403
    server.daemon.kill()
    server.daemon.start()
    server.daemon.wait_healthy()
    answer = server.verify(**service.as_caller(), **ann.as_subject(token))
    assert (answer.status_code, answer.json()) == (403, NOT_PERMITTED)
    earlier = server.verify(**service.as_caller(), **ann.as_subject(ann.token(-1)))
    assert earlier.status_code == 403
    later = server.verify(**service.as_caller(), **ann.as_subject(ann.token(1)))
    assert later.status_code == 200


def test_of_many_at_once_over_two_processes_one_is_ok(
    server: OtpServer, service: Person, ann: Person, etcd: EtcdCluster, store: Store, tmp_path: Path
) -> None:
    other = OtpServer(etcd.endpoints, tmp_path / "other.log")
    try:
        other.daemon.wait_healthy()
        with ThreadPoolExecutor(16) as pool:
            for round_ in range(3):
                body = {**service.as_caller(), **ann.as_subject(ann.token(round_))}
                answers = list(pool.map(lambda each: each.verify(**body), [server, other] * 8))  # noqa: B023
                statuses = [answer.status_code for answer in answers]
                assert statuses.count(200) == 1, statuses
                assert set(statuses) <= {200, 403, 429}
                Entries(store).unblock("ann", "ucloud")  # the wrong ones earned it a pause
    finally:
        other.daemon.close()


def test_a_service_may_show_its_own_token_many_times(server: OtpServer, service: Person, store: Store) -> None:
    people = [Person(store, f"user{number}", "ucloud") for number in range(5)]
    token = service.token()
    for person in people:
        assert server.verify(**service.as_caller(token), **person.as_subject()).status_code == 200


def test_a_wrong_caller_is_told_so_whoever_it_is(server: OtpServer, service: Person, ann: Person, store: Store) -> None:
    somebody = Person(store, "svc", "ucloud")
    bad = [
        service.as_caller(service.wrong_token()),
        {"name": "unknown", "realm": "ungleich-auth", "token": "123456"},
        {"name": "a/b", "realm": "ungleich-auth", "token": "123456"},
        somebody.as_caller(),  # its realm has no rights
        {"name": service.name, "realm": service.realm},
        {"name": None, "realm": [], "token": {}},
        {},
    ]
    for caller in bad:
        answer = server.verify(**caller, **ann.as_subject())
        assert (answer.status_code, answer.json()) == (403, NOT_AUTHENTICATED), caller
    assert entry_of(store, ann).last_counter == 0


def test_unknown_names_are_answered_and_held_off_like_known_ones(
    server: OtpServer, service: Person, ann: Person
) -> None:
    unknown = {"verifyname": "nobody", "verifyrealm": "ucloud", "verifytoken": ann.wrong_token()}
    known = ann.as_subject(ann.wrong_token())
    answers = {}
    for who, subject in (("unknown", unknown), ("known", known)):
        tried = [server.verify(**service.as_caller(), **subject) for _ in range(6)]
        answers[who] = [(each.status_code, each.json()) for each in tried[:5]], tried[5].status_code
        assert 55 <= int(tried[5].headers["Retry-After"]) <= 60
    assert answers["unknown"] == answers["known"] == ([(403, NOT_PERMITTED)] * 5, 429)
    # Not even the right one is looked at now.
    assert server.verify(**service.as_caller(), **ann.as_subject()).status_code == 429


def test_many_guesses_at_once_are_not_more_than_one_after_the_other(
    server: OtpServer, service: Person, ann: Person, store: Store
) -> None:
    guess = {**service.as_caller(), **ann.as_subject(ann.wrong_token())}
    with ThreadPoolExecutor(16) as pool:
        statuses = list(pool.map(lambda _: server.verify(**guess).status_code, range(48)))
    assert set(statuses) == {403, 429}
    assert statuses.count(403) == 5
    tries = store.get(keys.otp_tries("ucloud", "ann"))
    assert tries
    assert OtpTries.read(tries.key, tries.value).wrong == 5
    assert tries.lease


def test_a_right_token_forgets_the_wrong_ones_before(
    server: OtpServer, service: Person, ann: Person, store: Store
) -> None:
    for _ in range(4):
        server.verify(**service.as_caller(), **ann.as_subject(ann.wrong_token()))
    assert server.verify(**service.as_caller(), **ann.as_subject()).status_code == 200
    assert store.get(keys.otp_tries("ucloud", "ann")) is None


def test_a_network_with_too_many_wrong_callers_is_held_off(server: OtpServer, service: Person, ann: Person) -> None:
    wrong = service.as_caller(service.wrong_token())
    statuses = [server.verify(**wrong, **ann.as_subject()).status_code for _ in range(21)]
    assert statuses == [403] * 20 + [429]


def test_missing_fields_are_a_400_that_names_them(server: OtpServer, service: Person) -> None:
    answer = server.verify(**service.as_caller(), verifyname="ann")
    missing = ["This field is required."]
    assert (answer.status_code, answer.json()) == (400, {"verifyrealm": missing, "verifytoken": missing})


def test_nothing_that_is_secret_is_logged(server: OtpServer, service: Person, ann: Person, store: Store) -> None:
    service_token, right, wrong = service.token(), ann.token(), ann.wrong_token()
    server.verify(**service.as_caller(service_token), **ann.as_subject(right))
    server.verify(**service.as_caller(service_token), **ann.as_subject(wrong))
    server.verify(**service.as_caller(wrong), **ann.as_subject(right))
    key = keys.otp("ucloud", "broken")
    store.commit([unchanged(key, 0)], [Put(key, b'{"version":1,"name":"broken","realm":"ucloud","seed":"GEHEIM8 1!"}')])
    broken = server.verify(**service.as_caller(), verifyname="broken", verifyrealm="ucloud", verifytoken=right)
    assert broken.status_code == 500
    log = server.daemon.log.read_text()
    assert key in log
    for secret in (service.seed, ann.seed, service_token, right, wrong, "GEHEIM8"):
        assert secret not in log + broken.text
    everything = b"".join(entry.value for entry in store.list("/").entries).decode()
    assert right not in everything.replace(ann.seed, "").replace(str(entry_of(store, ann).last_counter), "")


def test_who_holds_off_guessers_itself_has_nobody_held_off(
    server: OtpServer, service: Person, ann: Person, store: Store
) -> None:
    api = Person(store, "ucloud-api", "ungleich-auth")
    for _ in range(20):
        assert server.verify(**api.as_caller(), **ann.as_subject(ann.wrong_token())).status_code == 403
    assert store.get(keys.otp_tries("ucloud", "ann")) is None
    token = ann.token()
    assert server.verify(**api.as_caller(), **ann.as_subject(token)).ok
    assert server.verify(**api.as_caller(), **ann.as_subject(token)).status_code == 403, "it is used up"
    for _ in range(5):
        assert server.verify(**service.as_caller(), **ann.as_subject(ann.wrong_token())).status_code == 403
    assert server.verify(**service.as_caller(), **ann.as_subject(ann.token(1))).status_code == 429
    assert server.verify(**api.as_caller(), **ann.as_subject(ann.token(1))).ok


def test_a_clock_that_is_a_minute_off_is_fine_and_two_minutes_are_not(
    server: OtpServer, service: Person, store: Store
) -> None:
    for number, (steps, status) in enumerate([(-4, 403), (-2, 200), (2, 200), (4, 403)]):
        person = Person(store, f"user{number}", "ucloud")
        assert server.verify(**service.as_caller(), **person.as_subject(person.token(steps))).status_code == status
