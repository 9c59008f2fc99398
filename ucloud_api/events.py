"""The routes of events: what happened to a VM, an image, a host or a user, read from etcd and followed.

Each reporter writes below a prefix of its own, so what happened to one thing is in one short range of each of them.
"""

import logging
from collections.abc import Callable, Iterable, Iterator

from flask import Response, request
from flask_openapi.blueprint import APIBlueprint
from flask_openapi.models.tag import Tag

from common import keys
from common.errors import MalformedRecord, Unavailable
from common.schemas.event import EventRecord
from common.schemas.owner import project_owner
from common.store import Entry, Range
from ucloud_api import models
from ucloud_api.access import login
from ucloud_api.access.auth import Caller, current_caller, require_admin
from ucloud_api.images import image
from ucloud_api.networks import network, security_group
from ucloud_api.problems import ApiProblem, documented, not_found
from ucloud_api.reading.streams import numbered, revision_of, serve
from ucloud_api.vms import vm
from ucloud_api.worker.event_feed import topic
from ucloud_api.worker.state import State, current_state
from ucloud_api.worker.watch import Subscription
from ucloud_api.writing.answers import answer, watchable

_log = logging.getLogger(__name__)
_REPORTERS = (keys.API_REPORTER, keys.SCHEDULER_REPORTER, keys.JUDGE_REPORTER, keys.IMAGE_REPORTER)
_RETRY_S = 1.0

blueprint = APIBlueprint(
    "event",
    __name__,
    url_prefix=keys.ROOT.rstrip("/"),
    abp_tags=[Tag(name="event", description="What happened")],
    abp_responses=documented(401, 409, 422, 429, 500, 503),
)
_ANSWERS = {200: watchable(models.EventList), **documented(403, 404)}


@blueprint.get("/vm/<uuid>/events", summary="List what happened to a VM", responses=_ANSWERS)
def vm_events(path: models.ThingPath, query: models.EventQuery) -> Response:
    """The events of a VM, oldest first, also of one that is gone by now; with ?watch=1 a stream of them."""
    return _events_of_uuid("vm", str(path.uuid), query, vm.read)


@blueprint.get("/image/<uuid>/events", summary="List what happened to an image", responses=_ANSWERS)
def image_events(path: models.ThingPath, query: models.EventQuery) -> Response:
    """The events of an image, oldest first, also of one that is gone by now; with ?watch=1 a stream of them."""
    return _events_of_uuid("image", str(path.uuid), query, image.read)


@blueprint.get("/network/<uuid>/events", summary="List what happened to a network", responses=_ANSWERS)
def network_events(path: models.ThingPath, query: models.EventQuery) -> Response:
    """The events of a network, oldest first, also of one that is gone by now; with ?watch=1 a stream of them."""
    return _events_of_uuid("network", str(path.uuid), query, network.read)


@blueprint.get("/security-group/<uuid>/events", summary="List what happened to a security group", responses=_ANSWERS)
def security_group_events(path: models.ThingPath, query: models.EventQuery) -> Response:
    """The events of a security group, oldest first, also of one that is gone; with ?watch=1 a stream of them."""
    return _events_of_uuid("security-group", str(path.uuid), query, security_group.read)


@blueprint.get("/host/<name>/events", summary="List what happened to a host", responses=_ANSWERS)
def host_events(path: models.HostPath, query: models.EventQuery) -> Response:
    """The events of a host, oldest first; with ?watch=1 a stream of them."""
    require_admin()
    return _answer(Events(current_state(), current_caller(), "host", path.name), query)


@blueprint.get("/user/<name>/events", summary="List what happened to a user", responses=_ANSWERS)
def user_events(path: models.UserPath, query: models.EventQuery) -> Response:
    """The events of an account, oldest first; with ?watch=1 a stream of them."""
    if not current_caller().may_see(path.name):
        raise not_found("user", path.name)
    return _answer(Events(current_state(), current_caller(), "user", path.name), query)


@blueprint.get("/project/<name>/events", summary="List what happened to a project", responses=_ANSWERS)
def project_events(path: models.ProjectPath, query: models.EventQuery) -> Response:
    """What changed of a project and its members, oldest first; with ?watch=1 a stream of it."""
    if not current_caller().may_see(project_owner(path.name)):
        raise not_found("project", path.name)
    return _answer(Events(current_state(), current_caller(), "project", path.name), query)


@blueprint.get("/user/<name>/logins", summary="List the logins of a user", responses=_ANSWERS)
def logins(path: models.UserPath, query: models.EventQuery) -> Response:
    """Who logged in as the user, from where, by what; who was refused; which sessions ended. Oldest first."""
    if not current_caller().may_see(path.name):
        raise not_found("user", path.name)
    return _answer(Events(current_state(), current_caller(), login.KIND, path.name), query)


def _events_of_uuid(
    kind: str, uuid: str, query: models.EventQuery, read: Callable[[State, Caller, str], object]
) -> Response:
    state, caller = current_state(), current_caller()
    events = Events(state, caller, kind, uuid)
    try:
        read(state, caller, uuid)
    except MalformedRecord:
        pass  # what happened to it can be read all the same
    except ApiProblem:
        # Of what is gone its owner still knows.
        if not events.page("", 1)[0]:
            raise
    return _answer(events, query)


def _answer(events: "Events", query: models.EventQuery) -> Response:
    if query.watch:
        return serve(events.state, events.topic, events.follow(request.headers.get("Last-Event-ID")))
    items, next_cursor = events.page(query.cursor or "", query.limit)
    return answer(models.EventList(items=tuple(items), next_cursor=next_cursor))


class Events:
    """What happened to one thing, as far as a caller may know it."""

    def __init__(self, state: State, caller: Caller, kind: str, thing: str) -> None:
        self.state = state
        self._caller = caller
        self._kind = kind
        self._thing = thing

    @property
    def topic(self) -> tuple[str, str]:
        """What the hub tells of."""
        return topic(self._kind, self._thing)

    def page(self, after: str, limit: int) -> tuple[list[models.ThingEvent], str | None]:
        """The first `limit` events behind the id `after`, and the cursor of the next page."""
        found = self.state.store.list_ranges(self._ranges(after=after, limit=limit + 1)).entries
        events = self._shown(found)
        return events[:limit], events[limit - 1].id if len(events) > limit else None

    def follow(self, last_event_id: str | None) -> Callable[..., Iterator[bytes]]:
        """A stream of all events that were written after the revision `last_event_id`, and of those to come."""

        def events(
            subscription: Subscription, wait_s: Callable[[], float], is_allowed: Callable[[], bool]
        ) -> Iterator[bytes]:
            since = 1 + ((revision_of(last_event_id) if last_event_id else 0) or 0)
            while not subscription.closed and is_allowed():
                subscription.take()
                try:
                    listing = self.state.store.list_ranges(self._ranges(since=since))
                except Unavailable:
                    subscription.wait(_RETRY_S)
                    continue
                news = ((event.model_dump_json().encode(), "") for event in self._shown(listing.entries))
                yield from numbered(news, listing.revision)
                yield f": all is told up to here\nid: {listing.revision}\n\n".encode()
                since = listing.revision + 1
                subscription.wait(wait_s())

        return events

    def _ranges(self, after: str = "", since: int = 0, limit: int = 0) -> list[Range]:
        words, statuses = self.state.hosts.records(), self.state.host_statuses.records()
        hosts = {keys.last_part(key) for key in (*words, *statuses)}
        prefixes = (keys.events(reporter, self._kind, self._thing) for reporter in (*_REPORTERS, *sorted(hosts)))
        return [Range(prefix, after, since, limit) for prefix in prefixes]

    def _shown(self, entries: Iterable[Entry]) -> list[models.ThingEvent]:
        """Those that the caller may see, oldest first."""
        found = (_read(entry) for entry in sorted(entries, key=lambda entry: keys.last_part(entry.key)))
        return [_resource(key, event, self._caller) for key, event in found if event and self._may_see(event)]

    def _may_see(self, event: EventRecord) -> bool:
        return self._caller.may_see(event.owner) and (bool(event.what) or self._caller.is_admin)


def _read(entry: Entry) -> tuple[str, EventRecord | None]:
    try:
        return entry.key, EventRecord.read(entry.key, entry.value)
    except MalformedRecord as error:
        _log.error("%s", error)
        return entry.key, None


def _resource(key: str, event: EventRecord, caller: Caller) -> models.ThingEvent:
    return models.ThingEvent(
        id=keys.last_part(key),
        at=event.at,
        what=event.what,
        by=event.by,
        reporter=keys.reporter_of(key),
        details=event.admin_only if caller.is_admin else "",
    )
