"""The errors of ucloud: one root, each class one thing that a caller can act on.

An error's text is written for a person: what is wrong, with which field or key, and what is allowed or to do. Secrets
never go into one.
"""


class UcloudError(Exception):
    """The root of all errors that ucloud raises on purpose."""


class ConfigurationError(UcloudError):
    """The settings can't be used as they are; the text names the setting, its source and what is allowed."""


class InvalidValue(UcloudError, ValueError):
    """A value that a field does not allow.

    It is a ValueError too, so that pydantic reports it with the field's name.
    """


class MalformedRecord(UcloudError):
    """What a key holds can't be read as a record of its kind."""

    def __init__(self, key: str, problem: str) -> None:
        super().__init__(f"{key}: {problem}")
        self.key = key
        self.problem = problem


class StoreError(UcloudError):
    """etcd did not do what was asked."""


class Conflict(StoreError):
    """Somebody else changed a key since it was read: read again and decide again."""

    def __init__(self, keys: tuple[str, ...]) -> None:
        super().__init__(f"changed by somebody else since it was read: {', '.join(keys)}")
        self.keys = keys


class Gone(Conflict):
    """A key that was to be changed exists no more."""

    def __init__(self, keys: tuple[str, ...]) -> None:
        UcloudError.__init__(self, f"exists no more: {', '.join(keys)}")
        self.keys = keys


class LeadershipLost(Conflict):
    """The write was refused because another instance leads now; nothing was written."""


class Refused(StoreError):
    """etcd refused a call for good; `code` is gRPC's name of the reason."""

    def __init__(self, code: str, details: str) -> None:
        super().__init__(f"etcd refused: {details} ({code})")
        self.code = code


class Compacted(StoreError):
    """A watch can't go on from its revision (compacted, or ahead of the store): list again."""


class LeaseExpired(StoreError):
    """The lease exists no more; what was bound to it is gone."""


class QuotaExceeded(UcloudError):
    """A request would cost its owner more than the quota allows; `figures` says of each resource what, in words."""

    def __init__(self, owner: str, figures: dict[str, str]) -> None:
        super().__init__(f"over the quota of {owner}: {'; '.join(figures.values())}")
        self.owner = owner
        self.figures = figures


class TooManyTries(UcloudError):
    """Too many wrong guesses: no other one is looked at for `retry_after_s` seconds."""

    def __init__(self, retry_after_s: int) -> None:
        super().__init__(f"too many tries, the next one in {retry_after_s} s")
        self.retry_after_s = retry_after_s


class Unavailable(UcloudError):
    """A service that is needed does not answer; the same call may succeed later."""

    def __init__(self, what: str, problem: str, retry_after_s: int = 5) -> None:
        super().__init__(f"{what} is unavailable: {problem}")
        self.what = what
        self.retry_after_s = retry_after_s


class TemporaryError(UcloudError):
    """A step failed and may succeed when tried again; the text is shown to the owner as the reason."""


class PermanentError(UcloudError):
    """A step failed and will fail again until somebody changes the request or the machine; the text is the reason."""
