"""Why an import stands still, told while it does: its store does not answer, and the import waits for it."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from common.errors import TemporaryError

_LOOK_S = 5.0


@contextmanager
def told_of_stalls(
    ask: Callable[[], object], report: Callable[[str], None], look_every_s: float = _LOOK_S
) -> Iterator[None]:
    """Call `ask` now and then while the body runs, and `report` with what it says when it fails (TemporaryError).

    When it works again, `report` gets an empty text. It is not called any more when the body has ended.
    """
    done, reporting = threading.Event(), threading.Lock()

    def watch() -> None:
        last = ""
        while not done.wait(look_every_s):
            try:
                ask()
                reason = ""
            except TemporaryError as error:
                reason = str(error)
            with reporting:
                if reason != last and not done.is_set():
                    report(reason)
                    last = reason

    # Nobody waits for its end: the store may take long to say that it does not answer.
    threading.Thread(target=watch, name="stalls", daemon=True).start()
    try:
        yield
    finally:
        with reporting:
            done.set()
