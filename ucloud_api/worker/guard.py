"""How often one may try to prove to be somebody, per process of the API. What holds over all: common.lockout."""

from common.throttle import Throttle


class Guard:
    """Counts every try, right ones too: so many at once can't slip through between a look and its count."""

    def __init__(self) -> None:
        self.logins_from_network = Throttle("60 per minute")
        # Bearer tokens that this process has not seen yet.
        self.unknown_tokens = Throttle("60 per minute")
