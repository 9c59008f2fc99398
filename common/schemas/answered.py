"""The answer that was given to a request with an Idempotency-Key, so that a repetition of it gets the same one."""

from common.schemas.record import Record


class Answered(Record):
    """`/v1/request/<user>/<SHA-256 of the key>`, written in the transaction of what was asked for; bound to a lease."""

    method: str
    path: str
    body_sha256: str
    """Of the request's body: the same key with another one is a mistake."""
    status: int
    body: str
    location: str = ""
    etag: str = ""
