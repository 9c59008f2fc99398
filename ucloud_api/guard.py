"""How often one may try to prove to be somebody, per process of the API."""

from common.throttle import Throttle


class Guard:
    """Counts every try, right ones too: so many at once can't slip through between a look and its count."""

    def __init__(self) -> None:
        # A name has a new token each 30 s, so nobody who has the right ones is ever held off.
        self.logins_of_name = Throttle("20 per 10 minutes")
        self.logins_from_network = Throttle("60 per minute")
        # Bearer tokens that this process has not seen yet.
        self.unknown_tokens = Throttle("60 per minute")
