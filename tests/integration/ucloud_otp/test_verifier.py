"""The verifier where answers of etcd are lost on their way."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

from common.store import Store
from devcloud.etcd import EtcdCluster
from tests.integration.common.clients import connected_to
from tests.integration.proxy import Proxy
from tests.integration.ucloud_otp_server import Person
from ucloud_otp.verifier import Claim, Verifier


def test_nobody_takes_anothers_acceptance_for_its_own(etcd: EtcdCluster, store: Store) -> None:
    person = Person(store, "ann", "ucloud")
    claim = Claim("ann", "ucloud", person.token())
    with Proxy(etcd.endpoints[0]) as proxy, ThreadPoolExecutor(1) as pool:
        slow_store = connected_to((proxy.endpoint, *etcd.endpoints))

        def hold_then_now() -> datetime:
            proxy.hold()
            return datetime.now(UTC)

        slow = pool.submit(Verifier(slow_store, hold_then_now).accept, claim)
        # Its acceptance is on the way, and has not arrived, when another one is faster.
        proxy.wait_held(b"accepted_id", 5)
        assert Verifier(store).accept(claim)
        assert not slow.result(30)
        proxy.release()
        slow_store.close()
    assert not Verifier(store).accept(claim)
