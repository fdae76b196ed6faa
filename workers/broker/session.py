"""This process as a consumer: what it has taken from one broker, and a thread that settles it there.

Claims belong to the process, not to a connection: what was taken over a connection that is lost stays taken as long as
the process lives, and is acknowledged over another. The thread says every few seconds that it lives, and looks for
consumers that do not.
"""

import atexit
import logging
import os
import socket
import threading
import time
import weakref
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from queue import Empty, SimpleQueue
from typing import Any, Final
from uuid import uuid4

from redis import Redis
from redis.exceptions import RedisError

from workers.broker.script import Script

__all__ = ["Keys", "Session"]

_log = logging.getLogger("gateway.broker")

#: How a message goes back: as it was; perhaps begun; its consumer died.
UNSEEN: Final = "unseen"
SEEN: Final = "seen"

#: Seconds between two tries while the broker is away.
_RETRY_S = 0.5
#: Most claims that are settled, and most messages of dead consumers that go back, in one step.
_BATCH = 500
#: Seconds in which a command on a connection that was given up may still arrive.
_LINK_MEMORY_S = 3600

_SETTLE, _CLOSE_LINK = Script("give_back.lua", "settle.lua"), Script("give_back.lua", "close_link.lua")
_SWEEP, _LEAVE = Script("give_back.lua", "sweep.lua"), Script("leave.lua")


@dataclass(frozen=True, slots=True)
class Keys:
    """Where a broker keeps what was taken: kombu's two keys, and beside them who took it."""

    unacked: str
    index: str
    claims: str
    consumers: str
    swept: str

    @property
    def of_claims(self) -> tuple[str, ...]:
        """As most scripts take them."""
        return self.unacked, self.index, self.claims, self.consumers


class _Held:
    """A message that this process has: the QoS that counts it, and whether anybody still has it in hand."""

    __slots__ = ("qos", "reference")

    def __init__(self, qos: Any) -> None:
        self.qos = qos
        self.reference: weakref.ref[Any] | None = None


class Session:
    """Any thread may call its methods; none of them waits for the broker but `flush` and `end`.

    Args:
        keys: see `Keys`.
        pool: a connection pool of its own.
        silence_s: a consumer that was not heard of for so long is dead.
        beat_s: how often this one is heard of at least.
    """

    def __init__(self, keys: Keys, pool: Any, *, silence_s: float, beat_s: float) -> None:
        self.keys = keys
        self._pid = os.getpid()
        self.id = f"{socket.gethostname()}:{os.getpid()}:{uuid4()}"
        self.held: dict[str, _Held] = {}
        self._silence_s = silence_s
        self._beat_s = beat_s
        self._client: Any = Redis(connection_pool=pool)
        self._acks: deque[str] = deque()
        self._backs: deque[tuple[str, str]] = deque()
        self._closed_links: deque[str] = deque()
        self._link_numbers = count(1)
        # Not an event: a signal handler or the garbage collector may interrupt the very call that sets it.
        self._wake: SimpleQueue[None] = SimpleQueue()
        self._turned = threading.Condition()
        self._turns = 0
        self._over = False
        self._failed = ""
        self._sweep_at = 0.0
        # A first beat before the first claim: else its own sweep would not know it.
        self._thread = threading.Thread(target=self._run, name="gateway-claims", daemon=True)
        self._thread.start()
        atexit.register(self.end, 1.0)

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self._over

    # -- what is held --------------------------------------------------------------------------------------------------

    def new_link(self) -> str:
        """A name for a new connection over which claims are made."""
        return str(next(self._link_numbers))

    def take(self, tags: Iterable[str], qos: Any) -> None:
        """They were claimed, and are about to be delivered."""
        for tag in tags:
            self.held[tag] = _Held(qos)

    def hold(self, tag: str, message: Any) -> None:
        """One is delivered. If its message is forgotten unsettled, nobody can settle it any more: it goes back."""
        held = self.held.get(tag)
        if held is not None:
            held.reference = weakref.ref(message, lambda gone: self._forgotten(tag, gone))

    def adopt(self, qos: Any) -> None:
        """Count for this QoS what was taken over channels that are closed."""
        for tag in list(self.held):
            held = self.held.get(tag)
            if held is not None and held.qos is not qos and held.qos.channel.closed:
                held.qos = qos
                qos.count(tag)

    def ack(self, tag: str) -> None:
        """It is done."""
        if tag in self.held:
            # In this order: at no time is it neither held nor on its way.
            self._acks.append(tag)
            self._let_go(tag)
            self._wake.put(None)

    def give_back(self, tag: str, how: str = UNSEEN) -> None:
        """Put it back to the head of its queue."""
        if tag in self.held:
            self._backs.append((how, tag))
            self._let_go(tag)
            self._wake.put(None)

    def close_link(self, link: str) -> None:
        """A connection was lost while a claim was on its way: give back what came of it."""
        self._closed_links.append(link)
        self._wake.put(None)

    def _let_go(self, tag: str) -> None:
        held = self.held.pop(tag, None)
        if held is not None:
            held.qos.uncount(tag)

    def _forgotten(self, tag: str, reference: Any) -> None:
        # While garbage is collected, on any thread: it must take no lock.
        held = self.held.get(tag)
        if held is not None and held.reference is reference:
            self._backs.append((SEEN, tag))
            self._let_go(tag)
            self._wake.put(None)

    def run(self, script: Script, keys: Sequence[str], *args: str | float) -> Any:
        """Run a script at the broker, and wait for it.

        Raises:
            redis.RedisError, OSError: the broker is away, or refuses.
        """
        return script.run(self._client, keys, *args)

    # -- the end -------------------------------------------------------------------------------------------------------

    def flush(self, timeout_s: float) -> bool:
        """Wait until all that was settled before is settled at the broker; False after `timeout_s`."""
        ends = time.monotonic() + timeout_s
        with self._turned:
            # The turn that runs now may have taken its work before.
            wanted = self._turns + 2
            while self._turns < wanted:
                self._wake.put(None)
                left_s = ends - time.monotonic()
                if left_s <= 0 or not self._thread.is_alive():
                    return False
                self._turned.wait(min(left_s, 0.05))
        return True

    def end(self, timeout_s: float = 3.0) -> None:
        """Give back all that is held, and leave. What the broker does not hear of goes back when it is found dead."""
        if self._over or os.getpid() != self._pid:
            # In a forked child: all of it is the parent's.
            return
        atexit.unregister(self.end)
        for tag in list(self.held):
            self.give_back(tag, SEEN)
        settled = self.flush(timeout_s)
        self._over = True
        self._wake.put(None)
        self._thread.join(timeout_s)
        if settled:
            with suppress(RedisError, OSError):
                _LEAVE.run(self._client, (self.keys.claims, self.keys.consumers), self.id)
        self._client.connection_pool.disconnect()

    # -- its thread ----------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._over:
            try:
                self._turn()
                self._tell("")
            except (RedisError, OSError) as error:
                self._tell(f"{type(error).__name__}: {error}")
                time.sleep(_RETRY_S)
                continue
            except Exception:
                # Without its beats this process would be taken for dead.
                _log.exception("a defect in the transport")
                time.sleep(_RETRY_S)
                continue
            with self._turned:
                self._turns += 1
                self._turned.notify_all()
            self._rest()

    def _rest(self) -> None:
        """Until there is something to do, or it is time for a beat."""
        with suppress(Empty):
            self._wake.get(timeout=self._beat_s)
            while True:
                self._wake.get_nowait()

    def _tell(self, failed: str) -> None:
        """One line, and not the same one again and again."""
        if failed and failed != self._failed:
            _log.warning("what is settled is kept until the broker answers (%s)", failed)
        self._failed = failed

    def _turn(self) -> None:
        """Settle, beat, and look for the dead."""
        # All of them in one turn: `flush` counts turns.
        while True:
            self._settle()
            if not (self._acks or self._backs):
                break
        while self._closed_links:
            self._close(self._closed_links[0])
            self._closed_links.popleft()
        self._sweep()

    def _settle(self) -> None:
        acks = [self._acks.popleft() for _ in range(min(_BATCH, len(self._acks)))]
        backs = [self._backs.popleft() for _ in range(min(_BATCH, len(self._backs)))]
        try:
            self._send(acks, backs)
        except BaseException:
            # Perhaps done, perhaps not. Done again it ends nothing, unless this process has claimed the message anew:
            # then a call's lease keeps it from running twice, which an ordinary task does not have.
            self._acks.extendleft(reversed(acks))
            self._backs.extendleft(reversed(backs))
            raise

    def _close(self, link: str) -> None:
        tags = _CLOSE_LINK.run(self._client, (self.keys.claims,), self.id, link, _LINK_MEMORY_S)
        lost = [tag for tag in map(_text, tags) if tag not in self.held]
        on_their_way = {*self._acks.copy(), *(tag for _, tag in self._backs.copy())}
        lost = [tag for tag in lost if tag not in on_their_way]
        if lost:
            _log.warning("%d message(s) whose delivery was lost go back to their queues", len(lost))
        for first in range(0, len(lost), _BATCH):
            self._send([], [(UNSEEN, tag) for tag in lost[first : first + _BATCH]])

    def _send(self, acks: list[str], backs: list[tuple[str, str]]) -> None:
        back_args = [part for back in backs for part in back]
        _SETTLE.run(self._client, self.keys.of_claims, self.id, len(acks), *acks, *back_args)

    def _sweep(self) -> None:
        now, interval_s = time.monotonic(), self._silence_s / 4
        if now < self._sweep_at:
            return
        keys = (*self.keys.of_claims, self.keys.swept)
        given, more = _SWEEP.run(self._client, keys, self._silence_s, interval_s, _BATCH)
        if given:
            _log.warning("%d message(s) of consumers that died go back to their queues", given)
        self._sweep_at = now + (interval_s / 2 if more else interval_s)

    def __repr__(self) -> str:
        return f"<Session {self.id} {len(self.held)} held, {len(self._acks) + len(self._backs)} to settle>"


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
