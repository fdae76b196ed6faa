"""Waiting for outcomes: one thread and two connections for all the calls of a process.

Celery subscribes to a channel for every message it sends. Here nothing is subscribed at submit: only who waits
subscribes. An outcome arrives with the notification itself, or by the look-up that follows the subscription, so none
can fall in between; after a broken connection all of that is done again.
"""

import asyncio
import concurrent.futures
import contextlib
import logging
import os
import threading
from collections.abc import Callable
from typing import Any

from gateway.redis_client import ERRORS, open_async

__all__ = ["Waiter"]

_log = logging.getLogger("gateway.waiter")

_RECONNECT_S = 0.2
_MAX_RECONNECT_S = 2.0
_CANCEL_S = 0.1
#: A channel that is always subscribed to: without any, there would be no connection to read from.
_ANCHOR = "gateway:waiter"

OutcomeFuture = concurrent.futures.Future[bytes]


class Waiter:
    """Resolves futures as results arrive.

    Args:
        url: the Redis that holds the results.
        key_for: call id → the result's key, which is also the channel of its notification.
    """

    def __init__(self, url: str, key_for: Callable[[str], str]) -> None:
        self._url = url
        self._key_for = key_for
        self._lock = threading.Lock()
        self._pid = 0
        self._closing = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._waiting: dict[str, list[OutcomeFuture]] = {}
        self._fresh: set[str] = set()
        self._changed = asyncio.Event()

    def watch(self, call_id: str) -> OutcomeFuture:
        """A future of the stored result, as bytes. Cancel it to stop waiting."""
        future: OutcomeFuture = concurrent.futures.Future()
        key = self._key_for(call_id)
        loop = self._running_loop()
        loop.call_soon_threadsafe(self._add, key, future)
        future.add_done_callback(lambda done: self._forget(loop, key, done))
        return future

    def close(self) -> None:
        """Stop waiting; open futures are cancelled."""
        with self._lock:
            loop, thread = self._loop, self._thread
            self._loop = self._thread = None
            self._closing = True
            alive = loop is not None and self._pid == os.getpid()
        if alive and loop is not None and thread is not None:
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(loop.stop)
            thread.join(timeout=5)

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            # A forked child has neither the thread nor the right to its parent's sockets.
            if self._loop is None or self._pid != os.getpid():
                self._pid = os.getpid()
                self._closing = False
                self._waiting, self._fresh, self._changed = {}, set(), asyncio.Event()
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(
                    target=self._run, args=(self._loop,), name="gateway-waiter", daemon=True
                )
                self._thread.start()
            return self._loop

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
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

    def _add(self, key: str, future: OutcomeFuture) -> None:
        self._waiting.setdefault(key, []).append(future)
        self._fresh.add(key)
        self._changed.set()

    def _forget(self, loop: asyncio.AbstractEventLoop, key: str, future: OutcomeFuture) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(self._drop, key, future)

    def _drop(self, key: str, future: OutcomeFuture) -> None:
        futures = self._waiting.get(key)
        if futures is not None and future in futures:
            futures.remove(future)
            if not futures:
                del self._waiting[key]
                self._changed.set()

    def _resolve(self, key: str, payload: bytes) -> None:
        futures = self._waiting.pop(key, None)
        if futures is None:
            return
        self._changed.set()
        for future in futures:
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
        async with asyncio.TaskGroup() as group:
            group.create_task(self._read(pubsub, confirmed))
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

    async def _look_up(self, client: Any, confirmed: set[str]) -> None:
        """Fetch what was stored before its subscription took effect."""
        keys = [key for key in confirmed if key in self._waiting]
        confirmed.clear()
        if keys:
            for key, payload in zip(keys, await client.mget(keys), strict=True):
                if payload is not None:
                    self._resolve(key, payload)

    async def _read(self, pubsub: Any, confirmed: set[str]) -> None:
        while True:
            message = await pubsub.get_message(timeout=None)
            if message is None:
                continue
            key = message["channel"].decode()
            if message["type"] == "message":
                self._resolve(key, message["data"])
            elif message["type"] == "subscribe":
                # From here on no notification is missed; a result from before is looked up.
                confirmed.add(key)
                self._changed.set()
