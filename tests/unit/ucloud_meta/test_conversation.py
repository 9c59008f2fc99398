"""HTTP as bytes: what is answered, when the conversation ends, and that nothing a client says breaks it."""

from http import HTTPStatus

from hypothesis import given, settings
from hypothesis import strategies as st

from ucloud_meta.answer import Answer, Request, refuse
from ucloud_meta.conversation import HEAD_BYTES, Conversation
from ucloud_meta.manners import Manners

GET = b"GET /%s HTTP/1.1\r\nHost: metadata\r\n\r\n"


class Client:
    """Says things, and keeps what was asked and answered."""

    def __init__(self) -> None:
        self.asked: list[Request] = []
        self._manners = Manners("cloud.example")
        self.conversation = Conversation(self._answer)

    def _answer(self, request: Request) -> Answer:
        self.asked.append(request)
        return self._manners.refusal(request) or Answer(HTTPStatus.OK, request.target.encode(), keeps=True)

    def say(self, data: bytes) -> list[bytes]:
        """All replies to it."""
        self.conversation.receive(data)
        replies = []
        while reply := self.conversation.reply():
            replies.append(reply)
        return replies


def _status(reply: bytes) -> int:
    return int(reply.split()[1])


def test_requests_are_answered_one_after_the_other() -> None:
    client = Client()
    first, second = client.say(GET % b"a" + GET % b"b")
    assert first.startswith(b"HTTP/1.1 200 OK\r\n")
    assert first.endswith(b"\r\n\r\n/a")
    assert b"cache-control: no-store\r\n" in first
    assert second.endswith(b"\r\n\r\n/b")
    assert not client.conversation.is_over


def test_a_request_may_come_in_pieces() -> None:
    client = Client()
    replies = [client.say(GET[at : at + 1] if GET[at : at + 1] != b"%" else b"x") for at in range(len(GET))]
    assert [len(reply) for reply in replies] == [0] * (len(GET) - 1) + [1]


def test_head_is_get_without_a_body() -> None:
    [reply] = Client().say(b"HEAD /abc HTTP/1.1\r\nHost: metadata\r\n\r\n")
    assert b"content-length: 4\r\n" in reply
    assert reply.endswith(b"\r\n\r\n")


def test_who_wants_to_close_is_closed() -> None:
    for head in (b"GET / HTTP/1.1\r\nHost: metadata\r\nConnection: close", b"GET / HTTP/1.0\r\nHost: metadata"):
        client = Client()
        [reply] = client.say(head + b"\r\n\r\n")
        assert _status(reply) == 200
        assert client.conversation.is_over
        assert client.say(GET % b"a") == []


def test_a_refusal_ends_the_conversation() -> None:
    client = Client()
    [reply] = client.say(b"GET / HTTP/1.1\r\nHost: metadata\r\nVia: x\r\n\r\n" + GET % b"a")
    assert _status(reply) == 403
    assert b"connection: close\r\n" in reply.lower()
    assert client.conversation.is_over
    assert len(client.asked) == 1


def test_a_body_is_refused_before_it_comes() -> None:
    for field in (b"Content-Length: 1000000", b"Transfer-Encoding: chunked"):
        client = Client()
        [reply] = client.say(b"GET / HTTP/1.1\r\nHost: metadata\r\n" + field + b"\r\n\r\n")
        assert _status(reply) == 413
        assert client.conversation.is_over


def test_a_head_without_end_is_refused() -> None:
    client = Client()
    replies = client.say(b"GET / HTTP/1.1\r\nHost: metadata\r\n")
    while not replies and not client.conversation.is_over:
        replies = client.say(b"X-Y: " + b"z" * 1000 + b"\r\n")
    assert _status(replies[0]) == 431
    assert len(b"z" * 1000) * 9 > HEAD_BYTES


def test_what_is_no_http_is_refused() -> None:
    for data in (b"hello\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\r\n\r\n", b"GET / HTTP/2.0\r\nHost: metadata\r\n\r\n",
                 b"GET / HTTP/1.1\r\nHost: metadata\r\nHost: x\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n",
                 b"GET / HTTP/1.1\r\nHost: metadata\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
                 b"GET / HTTP/1.1\r\nHost: metadata\r\nX-Y : z\r\n\r\n"):  # fmt: skip
        client = Client()
        [reply] = client.say(data)
        assert 400 <= _status(reply) < 600, data
        assert client.conversation.is_over


def test_fields_that_a_refusal_brings() -> None:
    assert refuse(HTTPStatus.TOO_MANY_REQUESTS, retry_after="3").fields == {"retry-after": "3"}


def test_a_client_that_ends_is_the_end() -> None:
    client = Client()
    client.say(GET % b"a")
    assert client.say(b"") == []
    assert client.conversation.is_over


HTTP_LIKE = st.lists(
    st.sampled_from([
        b"GET ", b"HEAD ", b"PUT ", b"CONNECT ", b"/", b"/latest/api/token", b"http://x/", b" HTTP/1.1", b" HTTP/1.0",
        b"\r\n", b"\r\n\r\n", b"\n", b"Host: metadata\r\n", b"Connection: keep-alive\r\n", b"Upgrade: websocket\r\n",
        b"Connection: Upgrade\r\n", b"Expect: 100-continue\r\n", b"Content-Length: 0\r\n", b"Content-Length: 5\r\n",
        b"Transfer-Encoding: chunked\r\n", b"0\r\n\r\n", b"\x00", b"\xff", b" ", b":",
    ])
    | st.binary(max_size=20),
    max_size=30,
)  # fmt: skip


@settings(deadline=None)
@given(st.lists(HTTP_LIKE.map(b"".join), max_size=6), st.booleans())
def test_nothing_that_a_client_says_breaks_it(pieces: list[bytes], ends: bool) -> None:
    client = Client()
    for piece in [*pieces, *([b""] if ends else [])]:
        for reply in client.say(piece):
            assert reply.startswith(b"HTTP/1.1 ")
    if ends:
        assert client.conversation.is_over or client.asked == []
