"""Kinds of things that owners have and may let others see: read, found, listed and followed, all the same way."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any, Generic, TypeVar

from flask import Response
from pydantic import BaseModel

from common import keys
from common.cache import Cache, Cached
from common.errors import Conflict, MalformedRecord
from common.schemas.image import ImageRequest
from common.schemas.network import NetworkRequest, SecurityGroup
from ucloud_api import models
from ucloud_api.access.auth import Caller
from ucloud_api.access.owner import check_may_change
from ucloud_api.problems import ApiProblem, FieldProblem, name_taken, not_found
from ucloud_api.reading.streams import Source, stream
from ucloud_api.worker.followed import Followed
from ucloud_api.worker.state import State
from ucloud_api.worker.things import Audience
from ucloud_api.writing.answers import answer, etag, json_list, names_of, page_of

T = TypeVar("T", ImageRequest, NetworkRequest, SecurityGroup)


@dataclass(frozen=True)
class Collection(Generic[T]):
    """The things of a kind, for one caller. `resource` is what is shown of a record."""

    state: State
    caller: Caller
    record: type[T]
    followed: Followed[T]
    resource: Callable[[T], BaseModel]

    @property
    def noun(self) -> str:
        """The kind as sentences have it."""
        return self.followed.kind.replace("-", " ")

    def key(self, uuid: str) -> str:
        """Where the request for one of them is."""
        return self.followed.requests.prefix + uuid

    def may_see(self, record: T) -> bool:
        """Whether it is shown to the caller."""
        audience = self.followed.things.audience_of(record)
        return audience.public or self.caller.may_see(audience.owner)

    def read(self, uuid: str) -> tuple[T, int]:
        """One that the caller may see, with the revision of its request; ApiProblem (404)."""
        self.state.await_caches(*self.followed.caches)
        key = self.key(uuid)
        try:
            cached = self.state.find(self.followed.requests, key, self.record)
        except MalformedRecord:
            known = self.followed.requests.get(key)
            if self.caller.is_admin or (known and self.may_see(known.record)):
                raise
            raise not_found(self.noun, uuid) from None
        if cached is None or not self.may_see(cached.record):
            raise not_found(self.noun, uuid)
        return cached.record, cached.mod_revision

    def owned(self, record: T | None, uuid: str) -> T:
        """The record, if the caller may change it; ApiProblem (404, 403)."""
        if record is None or not self.may_see(record):
            raise not_found(self.noun, uuid)
        if not self.caller.may_see(record.owner):
            detail = f"a public {self.noun} is for its owner and for admins to change"
            raise ApiProblem(403, "not-the-owner", detail)
        check_may_change(self.caller, record.owner)
        return record

    def refuse_name(self, conflict: Conflict, owner: str, name: str) -> None:
        """ApiProblem (409) when a transaction failed because the name is taken."""
        name_key = keys.name(owner, self.followed.kind, name)
        if name_key in conflict.keys:
            holder = self.state.store.get(name_key)
            raise name_taken(self.noun, name, holder.value.decode() if holder else "") from conflict

    def list(self, query: models.ListQuery) -> Response:
        """A page of those that the caller may see, oldest first, or a stream of them.

        What a query says beyond which page filters by the resource's field of that name.
        """
        self.state.await_caches(*self.followed.caches)
        filters = query.model_dump(exclude={"limit", "cursor", "watch"}, exclude_none=True)

        def look(uuid: str) -> tuple[int, bytes] | None:
            cached = self.followed.requests.get(self.key(uuid))
            if cached is None or not self.may_see(cached.record):
                return None
            resource = self.resource(cached.record)
            if any(getattr(resource, field) != value for field, value in filters.items()):
                return None
            return cached.create_revision, resource.model_dump_json().encode()

        def names(after: int) -> Iterable[str]:
            things = self.followed.things
            return things.of_all(after) if self.caller.is_admin else things.seen_by(self.caller.owners, after)

        if not query.watch:
            return json_list(*page_of(names(int(query.cursor or 0)), look, query.limit))

        def resource(uuid: str) -> bytes | None:
            found = look(uuid)
            return found[1] if found else None

        def may_see(audience: Audience) -> bool:
            return audience.public or self.caller.may_see(audience.owner)

        return stream(self.state, self._source(None, lambda: names(0), resource, may_see))

    def show(self, uuid: str, watch: bool) -> Response:
        """One of them, or a stream that begins with it as it is."""
        record, revision = self.read(uuid)
        if not watch:
            return answer(self.resource(record), 200, {"ETag": etag(revision)})

        def resource(name: str) -> bytes | None:
            cached = self.followed.requests.get(self.key(name))
            if cached is None or not self.may_see(cached.record):
                return None
            return self.resource(cached.record).model_dump_json().encode()

        return stream(self.state, self._source(uuid, lambda: [uuid], resource, lambda _: True))

    def _source(
        self,
        name: str | None,
        names: Callable[[], Iterable[str]],
        resource: Callable[[str], bytes | None],
        may_see: Callable[[Audience], bool],
    ) -> Source:
        followed = self.followed
        caches: tuple[Cache[Any], ...] = (*self.followed.caches, *self.state.rights_caches)
        since = self.state.rights_since(self.caller.user)
        return Source(followed.kind, name, names, resource, may_see, caches, followed.journal, since)

    def known(self, wanted: str, owner: str) -> Cached[T] | None:
        """The one that is meant by a uuid or a name, as the cache knows it; None is no proof that there is none.

        A name means the owner's own, else the oldest public one.
        """
        for uuid in chain((wanted,), self.followed.things.of((owner,)), self.followed.things.public()):
            cached = self.followed.requests.get(self.key(uuid))
            if cached and wanted in (uuid, cached.record.name):
                return cached if self.may_use(cached.record, owner) else None
        return None

    def may_use(self, record: T, owner: str) -> bool:
        """Whether the caller may use it for what is an owner's; to see it is not enough, it is no reader's to use."""
        audience = self.followed.things.audience_of(record)
        return audience.public or record.owner == owner or self.caller.may_change(record.owner)

    def stored(self, wanted: str, owner: str) -> tuple[T, int] | None:
        """The same as etcd has it, with its revision."""
        entry = self.state.store.get(self.key(wanted))
        if entry is None and (uuid := self._uuid_of_name(wanted, owner)):
            entry = self.state.store.get(self.key(uuid))
        record = self.record.read(entry.key, entry.value) if entry else None
        return (record, entry.mod_revision) if entry and record and self.may_use(record, owner) else None

    def _uuid_of_name(self, name: str, owner: str) -> str | None:
        if named := self.state.store.get(keys.name(owner, self.followed.kind, name)):
            return named.value.decode()
        found = self._public_of_name(name)
        if found is None:
            # It may have been made through another machine just now.
            self.followed.requests.refresh()
            found = self._public_of_name(name)
        return found

    def _public_of_name(self, name: str) -> str | None:
        cached = (self.followed.requests.get(self.key(uuid)) for uuid in self.followed.things.public())
        return next((each.record.uuid for each in cached if each and each.record.name == name), None)

    def find(self, wanted: str, owner: str, field: str) -> T:
        """The one that is meant by a uuid or a name in `field`; ApiProblem (404) that names those there are."""
        if found := self.known(wanted, owner):
            return found.record  # should it be gone by now, the transaction that needs it is refused
        if stored := self.stored(wanted, owner):
            return stored[0]
        raise self.unknown(wanted, field, list(self._names(owner)), f"the name or the uuid of a {self.noun}")

    def _names(self, owner: str) -> Iterator[str]:
        cached = (self.followed.requests.get(self.key(uuid)) for uuid in self.followed.things.seen_by((owner,)))
        return (each.record.name for each in cached if each)

    def unknown(self, wanted: str, field: str, there_are: Iterable[str], allowed: str) -> ApiProblem:
        """404 for what a field is to name, with what there is."""
        names = names_of(there_are)
        hint = f"; there are: {names}" if names else "; there is none yet"
        problem = FieldProblem(field=field, problem="does not exist", allowed=allowed)
        return ApiProblem(
            404, f"{self.followed.kind}-not-found", f'there is no {self.noun} "{wanted}"{hint}', [problem]
        )


def check_may_publish(caller: Caller, what: str) -> None:
    """ApiProblem (403) where the caller may not say who sees `what`."""
    if not caller.is_admin:
        problem = FieldProblem(field="public", problem="is for admins to say")
        raise ApiProblem(403, "admins-only", f"only an admin makes {what} public, or private again", [problem])


def users_of(state: State, caller: Caller, vms: Iterable[str]) -> str:
    """The VMs that use something, for a sentence: those that the caller may see, and how many more there are."""
    state.await_caches(state.vms)
    uses = set(vms)
    own = [each for each in uses if (who := state.vm_things.audience(each)) and caller.may_see(who.owner)]
    others = f"{len(uses) - len(own)} of others" if len(own) < len(uses) else ""
    return ", ".join(filter(None, (names_of(own), others)))
