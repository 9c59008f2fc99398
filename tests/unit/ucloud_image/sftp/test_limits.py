"""How many connections, and how fast."""

from ucloud_image.sftp.limits import Connections, Pace


def test_connections_are_bounded_for_strangers_users_and_all() -> None:
    connections = Connections(most=50, most_of_user=2)
    assert [connections.admit_stranger("n1") for _ in range(6)] == [True] * 5 + [False]
    assert connections.admit_stranger("n2")
    for _ in range(5):
        connections.drop_stranger("n1", failed=False)
    assert [connections.admit_user("alice") for _ in range(3)] == [True, True, False]
    assert connections.admit_user("bob")
    connections.drop_user("alice")
    assert connections.admit_user("alice")
    assert connections.count() == 3
    full = Connections(most=2, most_of_user=9)
    assert all(full.admit_user("alice") for _ in range(2))
    assert not full.admit_stranger("n1")


def test_a_network_that_fails_often_is_turned_away() -> None:
    connections = Connections(most=1000, most_of_user=2)
    for _ in range(30):
        assert connections.admit_stranger("n1")
        connections.drop_stranger("n1", failed=True)
    assert not connections.admit_stranger("n1")
    assert connections.admit_stranger("n2")


def test_a_pace_is_of_all_that_a_user_does() -> None:
    assert Pace(0).take("alice", 10**12) == 0
    pace = Pace(1000)
    assert 0.4 < pace.take("alice", 500) < 0.6
    assert 0.9 < pace.take("alice", 500) < 1.1
    assert pace.take("bob", 100) < 0.2
