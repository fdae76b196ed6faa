"""One run of the waiter: a thread, its event loop, and everything that only this loop touches."""

import asyncio
import concurrent.futures
import contextlib
import logging
import threading
from collections.abc import Callable
from typing import Any

import redis

from gateway.redis_client import ERRORS, open_async

__all__ = ["Listener", "OutcomeFuture"]

_log = logging.getLogger("gateway.waiter")

_RECONNECT_S = 0.2
_MAX_RECONNECT_S = 2.0
_CANCEL_S = 0.1
_JOIN_S = 5.0
#: A channel that is always subscribed to: without any, there would be no connection to read from.
_ANCHOR = "gateway:waiter"

OutcomeFuture = concurrent.futures.Future[bytes]


class Listener:
    """Subscribes to what is waited for, and resolves futures as results arrive. It runs until it is closed.

    Args:
        url: the Redis that holds the results.
        is_final: whether a stored payload is an outcome; anything else resolves nobody.
        silence_s: seconds without a word after which the server is asked whether it is there; after as many more
            without an answer the connection is made anew.
    """

    def __init__(self, url: str, *, is_final: Callable[[bytes], bool], silence_s: float) -> None:
        self._url = url
        self._is_final = is_final
        self._silence_s = silence_s
        self._waiting: dict[str, list[OutcomeFuture]] = {}
        self._fresh: set[str] = set()
        self._changed = asyncio.Event()
        self._closing = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="gateway-waiter", daemon=True)
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether its thread runs."""
        return self._thread.is_alive()

    def add(self, key: str, future: OutcomeFuture) -> None:
        """Resolve a future with what is stored under a key, which is also the channel of its notification."""
        self._loop.call_soon_threadsafe(self._add, key, future)
        future.add_done_callback(lambda done: self._forget(key, done))

    def close(self) -> None:
        """Stop; open futures are cancelled. From any thread, more than once if need be."""
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._stop)
        if threading.current_thread() is not self._thread:
            self._thread.join(_JOIN_S)

    def _run(self) -> None:
        loop = self._loop
        asyncio.set_event_loop(loop)
        task = loop.create_task(self._listen())
        try:
            loop.run_forever()
        finally:
            # More than once: a cancellation that meets a reply halfway is swallowed now and then.
            while not task.done():
                task.cancel()
                loop.run_until_complete(asyncio.wait([task], timeout=_CANCEL_S))
            loop.run_until_complete(loop.shutdown_asyncgens())
            for futures in self._waiting.values():
                for future in futures:
                    future.cancel()
            loop.close()

    # Everything below runs on the loop.

    def _stop(self) -> None:
        self._closing = True
        self._loop.stop()

    def _add(self, key: str, future: OutcomeFuture) -> None:
        self._waiting.setdefault(key, []).append(future)
        self._fresh.add(key)
        self._changed.set()

    def _forget(self, key: str, future: OutcomeFuture) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._drop, key, future)

    def _drop(self, key: str, future: OutcomeFuture) -> None:
        futures = self._waiting.get(key)
        if futures is not None and future in futures:
            futures.remove(future)
            if not futures:
                del self._waiting[key]
                self._changed.set()

    def _resolve(self, key: str, payload: bytes) -> None:
        if key not in self._waiting or not self._is_final(payload):
            return
        self._changed.set()
        for future in self._waiting.pop(key):
            if future.set_running_or_notify_cancel():
                future.set_result(payload)

    async def _listen(self) -> None:
        """Follow, and begin again after a broken connection."""
        pause = _RECONNECT_S
        # A client that is closed while it is cancelled may end with an error of its own in place of the cancellation.
        while not self._closing:
            self._changed.clear()
            if not self._waiting:
                await self._changed.wait()
            try:
                async with open_async(self._url) as client, client.pubsub() as pubsub:
                    await pubsub.subscribe(_ANCHOR)
                    pause = _RECONNECT_S
                    await self._follow(client, pubsub)
            except* ERRORS as away:
                _log.debug("waiting for results goes on after %r", away.exceptions[0])
            except* Exception as defect:
                # Whoever waits must not hang for it.
                _log.error("waiting for results goes on after a defect", exc_info=defect)
            if not self._closing:
                await asyncio.sleep(pause)
            pause = min(pause * 2, _MAX_RECONNECT_S)

    async def _follow(self, client: Any, pubsub: Any) -> None:
        """Keep the subscriptions equal to what is waited for, until the connection breaks."""
        confirmed: set[str] = set()
        subscribed: set[str] = set()
        self._fresh = set(self._waiting)
        over = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._read(pubsub, confirmed, over))
            try:
                while True:
                    wanted = set(self._waiting)
                    # Somebody waits for what is subscribed already: its notification may be long gone.
                    confirmed |= self._fresh & subscribed
                    self._fresh.clear()
                    for change, keys in (
                        (pubsub.unsubscribe, subscribed - wanted),
                        (pubsub.subscribe, wanted - subscribed),
                    ):
                        if keys:
                            await change(*keys)
                    subscribed = wanted
                    await self._look_up(client, confirmed)
                    await self._changed.wait()
                    self._changed.clear()
            finally:
                # The group cancels the reader once, and redis-py swallows a cancellation that meets a timeout.
                over.set()

    async def _look_up(self, client: Any, confirmed: set[str]) -> None:
        """Fetch what was stored before its subscription took effect."""
        keys = [key for key in confirmed if key in self._waiting]
        confirmed.clear()
        if keys:
            for key, payload in zip(keys, await client.mget(keys), strict=True):
                if payload is not None:
                    self._resolve(key, payload)

    async def _read(self, pubsub: Any, confirmed: set[str], over: asyncio.Event) -> None:
        asked = False
        while not over.is_set():
            message = await pubsub.get_message(timeout=self._silence_s)
            if message is None:
                if asked:
                    raise redis.ConnectionError("the result store does not answer on the channel of its notifications")
                # A link that is cut without a word looks like one on which nothing happens.
                asked = True
                await pubsub.ping()
                continue
            asked = False
            if message["type"] == "message":
                self._resolve(message["channel"].decode(), message["data"])
            elif message["type"] == "subscribe":
                # From here on no notification is missed; a result from before is looked up.
                confirmed.add(message["channel"].decode())
                self._changed.set()
