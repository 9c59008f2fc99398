"""HTTP/1.1 (RFC 9112) of one connection, by h11: bytes in, requests to be answered, bytes out. No I/O, and no clock.

h11 is strict with what it takes (request smuggling lives on leniency) and bounded in what it keeps. A request with a
body is refused as soon as its head is there.
"""

from collections.abc import Callable
from http import HTTPStatus

import h11

from ucloud_meta.answer import Answer, Request, refuse

HEAD_BYTES = 8 * 1024
"""How long the head of a request may be."""
_VERSIONS = (b"1.0", b"1.1")


class Conversation:
    """What is said on one connection."""

    def __init__(self, answer: Callable[[Request], Answer]) -> None:
        self._answer = answer
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_BYTES)
        self.is_over = False
        """Nothing more will be answered."""

    def receive(self, data: bytes) -> None:
        """The client said `data`; empty: it will say nothing more."""
        if not self.is_over:
            self._http.receive_data(data)

    def reply(self) -> bytes:
        """The answer to the next request; empty while there is none."""
        if self.is_over:
            return b""
        try:
            return self._reply()
        except h11.RemoteProtocolError as error:
            self.is_over = True
            return self._say(refuse(_status(error.error_status_hint)), with_body=True)

    def _reply(self) -> bytes:
        event = self._http.next_event()
        if isinstance(event, h11.Request):
            return self._reply_to(event)
        if isinstance(event, h11.ConnectionClosed):
            self.is_over = True
        return b""

    def _reply_to(self, event: h11.Request) -> bytes:
        fields: dict[str, tuple[str, ...]] = {}
        for raw_name, raw_value in event.headers:
            name = raw_name.decode("ascii")
            fields[name] = (*fields.get(name, ()), raw_value.decode("latin-1"))
        request = Request(event.method.decode("ascii"), event.target.decode("ascii"), fields)
        is_spoken = event.http_version in _VERSIONS
        answer = self._answer(request) if is_spoken else refuse(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED)
        said = self._say(answer, with_body=request.method != "HEAD")
        # What follows the head is the end of the message: who sends a body was answered with the end of the connection.
        if answer.keeps and isinstance(self._http.next_event(), h11.EndOfMessage) and self._may_go_on():
            self._http.start_next_cycle()
        else:
            self.is_over = True
        return said

    def _may_go_on(self) -> bool:
        return self._http.our_state is h11.DONE and self._http.their_state is h11.DONE

    def _say(self, answer: Answer, *, with_body: bool) -> bytes:
        if self._http.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return b""
        fields = {
            "content-type": answer.content_type,
            "content-length": str(len(answer.body)),
            "cache-control": "no-store",
            **answer.fields,
        }
        if not answer.keeps:
            fields["connection"] = "close"
        status = answer.status
        said = self._http.send(h11.Response(status_code=status, reason=status.phrase, headers=list(fields.items())))
        said = said or b""
        if with_body:
            said += self._http.send(h11.Data(data=answer.body)) or b""
        return said + (self._http.send(h11.EndOfMessage()) or b"")


def _status(hint: int) -> HTTPStatus:
    try:
        return HTTPStatus(hint)
    except ValueError:
        return HTTPStatus.BAD_REQUEST
