"""Claims on one connection: what was asked for, what the answer says, and when to ask again.

Nothing here waits. A claim is sent; its answer makes the connection readable. If nothing is left then, the connection
is *armed*: `CLIENT TRACKING` has the server tell it once one of the lists changes, whoever enqueues, which makes it
readable again. Besides it claims every second, in case a word was lost, and to see whether the link still answers.
"""

import logging
from enum import Enum
from time import monotonic
from typing import Any, NamedTuple

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, ReadOnlyError, ResponseError

from workers.broker.entry import ASIDE_MOST
from workers.broker.script import Script
from workers.broker.session import Session

__all__ = ["ARMED_S", "MOST", "POLL_S", "Claimed", "Claimer", "Phase", "claim"]

_log = logging.getLogger("gateway.broker")

_CLAIM = Script("claim.lua")

#: Most messages in one claim.
MOST = 100
#: Seconds between two claims of a connection that is armed, and between two tries where the server refuses.
ARMED_S = 1.0
#: The same where the server does not tell of changes.
POLL_S = 0.1
#: Seconds after which a server that does not answer is taken for gone.
OVERDUE_S = 5.0


class Phase(Enum):
    """Where a connection is."""

    READY = "ready"
    ASKED = "asked"
    """A claim is on its way, or its answer."""
    ARMED = "armed"
    """Nothing was left; the server will tell."""


class Claimed(NamedTuple):
    """A message that was taken: its list's number among those that were asked for, its tag or `""`, its text."""

    number: int
    tag: str
    raw: bytes


def claim(session: Session, keys: list[str], link: str, wanted: int, queues: int) -> list[Claimed]:
    """A claim that is waited for.

    Raises:
        redis.RedisError, OSError: the broker is away, or refuses; then `link` must be closed.
    """
    _, *found = session.run(_CLAIM, keys, session.id, link, wanted, queues, ASIDE_MOST)
    return _claimed(found)


def _claimed(found: list[Any]) -> list[Claimed]:
    return [
        Claimed(number, tag.decode(errors="replace"), raw)
        for number, tag, raw in zip(found[0::3], found[1::3], found[2::3], strict=True)
    ]


class Claimer:
    """Belongs to the hub's thread; one for each channel.

    Attributes:
        link: names the connection in its claims.
        tells: whether the server says when a list changes; True until it refuses.
    """

    def __init__(self) -> None:
        self.phase = Phase.READY
        self.link = ""
        self.tells = True
        self._socket: Any = None
        self._since = 0.0
        self._to_arm = False
        self._arming = False
        self._command: tuple[Any, ...] = ()
        self._refused = ""

    @property
    def due(self) -> bool:
        """Whether it is time for another claim, though none was called for."""
        pause_s = ARMED_S if self.tells or self._refused else POLL_S
        return self.phase is Phase.ARMED and monotonic() - self._since >= pause_s

    @property
    def overdue(self) -> bool:
        """Whether the server should have answered long ago."""
        return self.phase is Phase.ASKED and monotonic() - self._since >= OVERDUE_S

    def is_new(self, connection: Any) -> bool:
        """Whether this connection has made no claim yet; then it needs a link."""
        return connection._sock is not self._socket

    def begin(self, connection: Any, link: str) -> None:
        """Claim over a new connection from now on."""
        self._socket, self.link, self.phase = connection._sock, link, Phase.READY
        # What a server or a proxy refused may be possible after a failover.
        self.tells = str(connection.get_protocol()) == "3"
        self._to_arm = self.tells

    def forget(self) -> bool:
        """The connection is gone; whether that leaves a claim without an answer."""
        lost = self.phase is Phase.ASKED
        self._socket, self.phase = None, Phase.READY
        return lost

    def ask(self, connection: Any, keys: list[str], consumer: str, wanted: int, queues: int) -> None:
        """Send a claim.

        Args:
            keys: as `claim.lua` takes them.
            consumer: the session's id.
            wanted: how many messages at most.
            queues: how many lists there are of each priority.
        """
        self._command = (len(keys), *keys, consumer, self.link, min(wanted, MOST), queues, ASIDE_MOST)
        commands: list[tuple[Any, ...]] = [("EVALSHA", _CLAIM.sha, *self._command)]
        if self._to_arm:
            # One-shot, not broadcast: an idle worker hears of the lists it looked at, and of nothing else.
            commands.insert(0, ("CLIENT", "TRACKING", "ON", "NOLOOP"))
        self._arming, self._to_arm = self._to_arm, False
        # Before it is sent: what is half sent may be carried out.
        self.phase, self._since = Phase.ASKED, monotonic()
        connection.send_packed_command(connection.pack_commands(commands))

    def read(self, connection: Any) -> list[Claimed]:
        """Read what made the connection readable: an answer, or word of a change; empty if nothing was taken.

        Raises:
            redis.ConnectionError, redis.TimeoutError: the connection is of no use any more.
        """
        if self.phase is not Phase.ASKED:
            connection.read_response(disable_decoding=True, push_request=True)
            self.phase = Phase.READY
            return []
        if self._arming:
            self._arming = False
            try:
                connection.read_response(disable_decoding=True)
            except ResponseError as error:
                self.tells = False
                _log.warning(
                    "the broker does not tell of new messages (%s); it is asked %g times a second", error, 1 / POLL_S
                )
        try:
            left, *found = connection.read_response(disable_decoding=True)
        except NoScriptError:
            # Never seen, or forgotten: EVAL also teaches it.
            self._since = monotonic()
            connection.send_command("EVAL", _CLAIM.source, *self._command)
            return []
        except ReadOnlyError as error:
            raise RedisConnectionError(f"a replica: {error}") from None
        except ResponseError as error:
            self._refuse(str(error))
            return []
        self._refused = ""
        claimed = _claimed(found)
        # Word that came with the answer is in redis-py's buffer, where no poller sees it.
        if left or connection.can_read(0):
            self.phase = Phase.READY
        else:
            self.phase, self._since = Phase.ARMED, monotonic()
        return claimed

    def _refuse(self, why: str) -> None:
        """Such as a server without memory: nothing was taken; it is asked again after a while."""
        if why != self._refused:
            _log.warning("the broker gives no messages: %s", why)
        self._refused = why
        self.phase, self._since = Phase.ARMED, monotonic()

    def __repr__(self) -> str:
        return f"<Claimer {self.phase.value}, link {self.link or '-'}>"
