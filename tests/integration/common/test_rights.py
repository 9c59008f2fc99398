"""Three members of etcd behind TLS, where each user tries each kind of key: it may what the table says, and no more."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from common import keys, rights
from common.errors import ConfigurationError, Refused
from common.rights import User
from common.store import EtcdOptions, Put, Store, unchanged
from common.store.access import AccessControl
from devcloud.etcd import EtcdCluster
from devcloud.etcd_users import EtcdUsers
from tests.integration.common.test_tls import SecureEtcd, make_certificate
from tests.samples import KEYS_OF_H1, OTHER_KEYS

USERS = (*rights.users_of_control(), *rights.users_of_host("h1"))
SAMPLES = {**KEYS_OF_H1, **OTHER_KEYS}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    """The members, with the users of the control plane and of h1; nobody else gets in."""
    users = EtcdUsers(tmp_path_factory.mktemp("pki"))
    cluster = EtcdCluster(tmp_path_factory.mktemp("etcd"), members=3, pki=users.folder)
    users.certify(cluster.members, ["h1"])
    with cluster:
        users.grant(",".join(cluster.endpoints), ["h1"])
        yield cluster


def _options(cluster: EtcdCluster, user: str) -> EtcdOptions:
    pki = cluster.members[0].pki
    assert pki
    return EtcdOptions(cluster.endpoints, str(pki / "ca.pem"), str(pki / f"{user}.pem"), str(pki / f"{user}.key"))


def _is_allowed(call: Callable[[], object]) -> bool:
    try:
        call()
    except Refused as error:
        if "permission denied" not in str(error):
            raise
        return False
    return True


def _may_read(store: Store, key: str) -> bool:
    return _is_allowed(lambda: store.get(key))


def _may_write(store: Store, root: Store, key: str) -> bool:
    before = root.get(key)
    compares, operations = [unchanged(key, before.mod_revision if before else 0)], [Put(key, b"x")]
    allowed = _is_allowed(lambda: store.commit(compares, operations))
    assert (root.get(key) == before) != allowed
    return allowed


@pytest.mark.parametrize("user", USERS, ids=lambda user: user.name)
def test_a_daemon_reads_and_writes_what_the_table_says_and_nothing_else(cluster: EtcdCluster, user: User) -> None:
    store, root = Store(_options(cluster, user.name)), Store(_options(cluster, "root"))
    for name, key in SAMPLES.items():
        assert _may_read(store, key) == user.may(key, write=False), f"{user.name} reads {name}"
        assert _may_write(store, root, key) == user.may(key, write=True), f"{user.name} writes {name}"
    for prefix in ("/", keys.ROOT, "/v1/status/"):
        with pytest.raises(Refused, match="permission denied"):
            store.list(prefix)
    store.close()
    root.close()


def test_nobody_but_root_changes_what_others_may(cluster: EtcdCluster) -> None:
    for user in USERS:
        control = AccessControl(_options(cluster, user.name))
        with pytest.raises(Refused, match="permission denied"):
            control.set_user(user.name, [("/", True)])
        with pytest.raises(Refused, match="permission denied"):
            control.set_user("mallory", [("/", True)])
        control.close()


def test_rights_that_are_in_the_table_no_more_are_taken_and_the_rest_stays(cluster: EtcdCluster) -> None:
    control, meta = AccessControl(_options(cluster, "root")), User(rights.META, "h1")
    store = Store(_options(cluster, meta.name))
    assert control.set_user(meta.name, [*meta.rights(), (keys.ACCOUNT, True), (keys.VNI, False)])
    assert _may_read(store, keys.account("alice"))
    assert _may_read(store, keys.vni(1))
    assert control.set_user(meta.name, meta.rights())
    assert not _may_read(store, keys.account("alice"))
    assert not _may_read(store, keys.vni(1))
    assert _may_read(store, keys.placement("h1", "x"))
    assert not control.set_user(meta.name, meta.rights())
    store.close()
    control.close()


def test_who_has_no_role_gets_nothing(cluster: EtcdCluster) -> None:
    pki = cluster.members[0].pki
    assert pki
    EtcdUsers(Path(pki)).certify((), ["h2"])
    store = Store(_options(cluster, "ucloud-vm@h2"))
    assert not _may_read(store, keys.placement("h2", "x"))
    store.close()


def test_an_etcd_that_knows_nobody_by_certificates_shuts_nobody_out(etcd: EtcdCluster, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cert_file"):
        AccessControl(EtcdOptions(etcd.endpoints))
    make_certificate(tmp_path)
    secure = SecureEtcd(tmp_path)
    try:
        secure.start()
        files = (str(tmp_path / "ca.pem"), str(tmp_path / "ca.pem"), str(tmp_path / "key.pem"))
        options = EtcdOptions((secure.endpoint,), *files)
        control = AccessControl(options)
        for _ in range(2):
            control.set_user("ucloud-vm@h1", User(rights.VM, "h1").rights())
            with pytest.raises(ConfigurationError, match="client-cert-auth"):
                control.enable()
        store = Store(options)
        assert _may_read(store, keys.account("alice"))
        store.close()
        control.close()
    finally:
        secure.kill()
