"""Fixtures of the directories' tests: a slapd, and a directory of each kind with the same users."""

from collections.abc import Iterator

import pytest

from tests.integration.slapd import Slapd, require_slapd


@pytest.fixture
def slapd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slapd]:
    """An LDAP server without users."""
    require_slapd()
    server = Slapd(tmp_path_factory.mktemp("slapd") / "data")
    try:
        yield server
    finally:
        server.close()
