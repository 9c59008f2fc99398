"""The etcd clusters that other tests rely on."""

from devcloud.etcd import EtcdCluster
from devcloud.waiting import wait_for


def test_another_member_leads_when_the_leader_is_killed_and_the_killed_one_comes_back(etcd3: EtcdCluster) -> None:
    first = etcd3.leader()
    etcd3.kill(first)
    assert etcd3.leader() != first
    etcd3.restart(first)
    etcd3.wait_healthy()


def test_a_frozen_member_does_not_answer_until_it_is_resumed(etcd3: EtcdCluster) -> None:
    frozen = etcd3.members[0]
    etcd3.pause(0)
    assert not frozen.is_healthy()
    etcd3.resume(0)
    wait_for("the member healthy again", frozen.is_healthy, timeout_s=30)
