"""Child processes that do one call at a time for this process, and are ended when one takes too long.

A child that is ended has stopped for good: unlike a thread that was given up, it can't wake up later and go on. Callers
must be fit for a call that was done in part. A child ends with this process.
"""

import contextlib
import os
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Concatenate, ParamSpec, TypeVar, cast

from common.ceph.access import NO_ANSWER, Access, Cluster, NoAnswer, told_as_ours
from common.errors import TemporaryError, UcloudError

P = ParamSpec("P")
R = TypeVar("R")
_MOST_CHILDREN = 8
_MOST_IDLE = 2
_GRACE_S = 30.0
"""librados keeps the time by itself as far as it can. So long, OSDs wait for a client that has died and that others
must hear of; so much later a child is taken to hang."""


class Hands:
    """Calls in child processes, at most `_MOST_CHILDREN` at a time.

    While the cluster does not answer one call at a time tries, and all others are told so at once: whoever asks about
    a store that is away has something else to do.
    """

    def __init__(self, access: Access) -> None:
        self._access = access
        self._lock = threading.Lock()
        self._idle: list[_Child] = []
        self._places = threading.BoundedSemaphore(_MOST_CHILDREN)
        self._is_away = False
        self._probe = threading.Lock()

    def call(self, function: Callable[Concatenate[Cluster, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        """The result of `function`, one of a module, in a child that is connected to the cluster.

        NoAnswer when it does not come in time, or its own error. As long as it tells of progress, it may go on.
        """
        return cast(R, self._call((function, args, kwargs), lambda _: None))

    def call_long(
        self,
        tell: Callable[[int], None],
        function: Callable[Concatenate[Cluster, P], R],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R:
        """The same; `tell` hears how far it is, in percent."""
        return cast(R, self._call((function, args, kwargs), tell))

    def _call(self, call: object, tell: Callable[[int], None]) -> object:
        is_probe = self._is_away
        if is_probe and not self._probe.acquire(blocking=False):
            raise NoAnswer(NO_ANSWER)
        try:
            answer = self._ask(call, tell)
            self._is_away = isinstance(answer, NoAnswer)
        except NoAnswer:
            self._is_away = True
            raise
        finally:
            if is_probe:
                self._probe.release()
        if isinstance(answer, UcloudError):
            raise answer
        return answer

    def _ask(self, call: object, tell: Callable[[int], None]) -> object:
        limit_s = self._access.timeout_s + _GRACE_S
        if not self._places.acquire(timeout=limit_s):
            raise NoAnswer(NO_ANSWER)
        try:
            child = self._take()
            try:
                answer = child.ask(call, limit_s, tell)
            except BaseException:
                child.end()
                raise
            if isinstance(answer, UcloudError):
                # Its connection may be what is wrong: others may have cut it off.
                child.end()
            else:
                self._give_back(child)
        finally:
            self._places.release()
        return answer

    def close(self) -> None:
        """End the children that wait for work."""
        with self._lock:
            idle, self._idle = self._idle, []
        for child in idle:
            child.end()

    def _take(self) -> "_Child":
        with self._lock:
            while self._idle:
                child = self._idle.pop()
                if child.is_alive():
                    return child
                child.end()
        return _Child(self._access)

    def _give_back(self, child: "_Child") -> None:
        with self._lock:
            if len(self._idle) < _MOST_IDLE:
                self._idle.append(child)
                return
        child.end()


class _Child:
    """One child process."""

    def __init__(self, access: Access) -> None:
        mine, its = socket.socketpair()
        with its:
            command = [sys.executable, "-I", "-c", _PROGRAM, str(its.fileno())]
            self._process = subprocess.Popen(command, pass_fds=[its.fileno()], stdin=subprocess.DEVNULL)
        self._connection = Connection(mine.detach())
        self._connection.send(access)

    def is_alive(self) -> bool:
        """Whether it can be asked."""
        return self._process.poll() is None

    def ask(self, call: object, limit_s: float, tell: Callable[[int], None]) -> object:
        """Its answer; NoAnswer when none comes, TemporaryError when it has ended."""
        try:
            self._connection.send(call)
            while self._connection.poll(limit_s):
                is_done, answer = self._connection.recv()
                if is_done:
                    return answer
                if isinstance(answer, int):
                    tell(answer)
        except (EOFError, OSError) as error:
            raise TemporaryError(f"the call to the Ceph cluster has ended with {self._process.wait()}") from error
        raise NoAnswer(NO_ANSWER)

    def end(self) -> None:
        """End it at once; it keeps nothing that would be lost."""
        self._process.kill()
        self._process.wait()
        self._connection.close()


_PROGRAM = "import sys; from common.ceph.hands import work; work(int(sys.argv[1]))"


def work(descriptor: int) -> None:
    """What a child does: call after call, until its parent has gone."""
    connection = Connection(descriptor)
    threading.Thread(target=_end_with_parent, args=(descriptor,), daemon=True).start()
    with contextlib.suppress(EOFError, OSError):
        cluster = Cluster(connection.recv(), lambda percent=None: connection.send((False, percent)))
        while True:
            function, args, kwargs = connection.recv()
            try:
                with told_as_ours(cluster):
                    answer = function(cluster, *args, **kwargs)
            except UcloudError as error:
                answer = error
            connection.send((True, answer))
    # Without the goodbyes of librados, which may take long.
    os._exit(0)


def _end_with_parent(descriptor: int) -> None:
    """End this process when the other end of its socket is gone, whatever it is at."""
    gone = select.poll()
    gone.register(descriptor, select.POLLRDHUP)
    gone.poll()
    os._exit(1)
