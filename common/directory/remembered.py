"""A directory whose answers are kept in etcd: for a short time they are not asked for again, and for a longer time they
count while no server answers. All daemons that ask share them, and they outlive each of them.
"""

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from common import keys
from common.directory.directory import Directory
from common.directory.embedded import is_name
from common.errors import Conflict, Unavailable
from common.schemas.directory import Person
from common.store import Delete, Entry, Put, Store, unchanged


class RememberedDirectory:
    """Another directory, and what it said of users. Passwords are always asked for."""

    def __init__(
        self,
        directory: Directory,
        store: Store,
        refresh_s: int,
        outage_s: int,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._directory = directory
        self._store = store
        self._refresh = timedelta(seconds=refresh_s)
        self._outage = timedelta(seconds=outage_s)
        self._now = now

    def is_fresh(self, person: Person) -> bool:
        """Whether what was said of a person needs not be asked for again. What is of the future, a clock made."""
        return abs(self._now() - person.read_at) < self._refresh

    def find(self, name: str) -> Person | None:
        """See Directory."""
        return self._find(name, self.is_fresh)

    def find_now(self, name: str) -> Person | None:
        """The same, asked for now if a server answers, however fresh the last answer is."""
        return self._find(name, lambda person: False)

    def is_password(self, name: str, password: str) -> bool:
        """See Directory."""
        return self._directory.is_password(name, password)

    def _find(self, name: str, is_enough: Callable[[Person], bool]) -> Person | None:
        if not is_name(name):
            return None
        entry = self._store.get(keys.person(name))
        last = Person.read(entry.key, entry.value) if entry else None
        if last and is_enough(last):
            return last
        try:
            person = self._directory.find(name)
        except Unavailable:
            if last and self._now() - last.read_at < self._outage:
                return last
            raise
        self._keep(name, entry, person)
        return person

    def _keep(self, name: str, entry: Entry | None, person: Person | None) -> None:
        key = keys.person(name)
        if entry is None and person is None:
            return
        with suppress(Conflict):  # somebody else keeps what they were told just now
            self._store.commit(
                [unchanged(key, entry.mod_revision if entry else 0)],
                [Put(key, person.to_json()) if person else Delete(key)],
            )
