"""Waiting for outcomes: one thread and two connections for all the calls of a process.

Celery subscribes to a channel for every message it sends. Here nothing is subscribed at submit: only who waits
subscribes. An outcome arrives with the notification itself, or by the look-up that follows the subscription, so none
can fall in between; after a broken connection all of that is done again.
"""

import threading
from collections.abc import Callable

from gateway.listener import Listener, OutcomeFuture

__all__ = ["Waiter"]

#: A link that is cut without a word is noticed after twice this.
_SILENCE_S = 5.0
#: Of a forked child: kept for as long as it lives, so that no finalizer unregisters a socket of the parent's from the
#: epoll instance that both share, or ends a TLS stream in the parent's name.
_abandoned: list[Listener] = []


class Waiter:
    """Resolves futures as results arrive. Its thread starts with the first one.

    Args:
        url: the Redis that holds the results.
        key_for: call id → the result's key, which is also the channel of its notification.
        is_final: whether a stored payload is an outcome; a note on the way to one resolves nobody.
        silence_s: seconds without a word after which the server is asked whether it is there.
    """

    def __init__(
        self,
        url: str,
        key_for: Callable[[str], str],
        *,
        is_final: Callable[[bytes], bool],
        silence_s: float = _SILENCE_S,
    ) -> None:
        self._url = url
        self._key_for = key_for
        self._is_final = is_final
        self._silence_s = silence_s
        self._lock = threading.Lock()
        self._listener: Listener | None = None
        self._closed = False

    def watch(self, call_id: str) -> OutcomeFuture:
        """A future of the stored result, as bytes. Cancel it to stop waiting.

        Raises:
            RuntimeError: the waiter is closed.
        """
        future = OutcomeFuture()
        key = self._key_for(call_id)
        # What is added under the lock is added before a `close` that follows, which then cancels it.
        with self._lock:
            if self._closed:
                raise RuntimeError("the gateway is closed; make a new one")
            if self._listener is None:
                self._listener = Listener(self._url, is_final=self._is_final, silence_s=self._silence_s)
            self._listener.add(key, future)
        return future

    def close(self) -> None:
        """Stop waiting for good; open futures are cancelled."""
        with self._lock:
            self._closed = True
            listener, self._listener = self._listener, None
        if listener is not None:
            listener.close()

    def renew_after_fork(self) -> None:
        """In a forked child: forget the parent's thread and connections. A closed waiter stays closed."""
        self._lock = threading.Lock()
        listener, self._listener = self._listener, None
        if listener is not None:
            _abandoned.append(listener)
