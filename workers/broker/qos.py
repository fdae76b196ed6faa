"""What a channel counts as delivered and not settled; settling itself is the session's."""

import logging
from typing import Any

from kombu.transport import redis as kombu_redis
from kombu.transport import virtual
from redis.exceptions import ResponseError

from workers.broker.script import Script
from workers.broker.session import SEEN, Session

__all__ = ["QoS"]

_log = logging.getLogger("gateway.broker")

_OVERDUE, _RESTORE = Script("give_back.lua", "overdue.lua"), Script("give_back.lua", "restore.lua")

#: Messages that are looked at in one step, where the channel sets no limit.
_OVERDUE_MOST = 100


class QoS(kombu_redis.QoS):
    """No method waits for the broker but `restore_visible` and `restore_by_tag`."""

    channel: Any
    _delivered: Any
    _dirty: Any
    _on_collect: Any
    _vrestore_count: int

    @property
    def session(self) -> Session:
        """What this process has taken from the broker."""
        session: Session = self.channel.session
        return session

    # -- counting ------------------------------------------------------------------------------------------------------

    def append(self, message: Any, delivery_tag: str) -> None:
        """A message is delivered. It is recorded already: its claim did that."""
        self.count(delivery_tag)
        self.session.hold(delivery_tag, message)

    def count(self, tag: str) -> None:
        """One more that is not settled. The message itself is not kept, so that it can be seen to be forgotten."""
        virtual.QoS.append(self, None, tag)

    def uncount(self, tag: str) -> None:
        """One that is settled. Any thread may say so."""
        self._dirty.add(tag)

    # -- settling ------------------------------------------------------------------------------------------------------

    def ack(self, delivery_tag: str) -> None:
        """It is done; also on a channel that is closed."""
        self.session.ack(delivery_tag)
        # Also what stands in for an entry that is no message, of which the session knows nothing.
        self.uncount(delivery_tag)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """It is done, or goes back to the head of its queue as it was."""
        if requeue:
            self.session.give_back(delivery_tag)
        else:
            self.session.ack(delivery_tag)
        self.uncount(delivery_tag)

    def restore_unacked(self, client: Any = None) -> None:
        """Give back all that this channel has."""
        for tag in list(self._delivered):
            self.session.give_back(tag, SEEN)

    def restore_unacked_once(self, stderr: Any = None) -> None:
        """Nothing: what was taken stays with the process when a channel ends."""
        self._on_collect.cancel()

    # -- the second net ------------------------------------------------------------------------------------------------

    def restore_visible(self, start: int = 0, num: int | None = 10, interval: int | None = 10) -> None:
        """Give back what was taken longer ago than the visibility timeout, unless its consumer lives."""
        self._vrestore_count += 1
        if (self._vrestore_count - 1) % (interval or 1):
            return
        session = self.session
        try:
            keys, most = session.keys.of_claims, num or _OVERDUE_MOST
            for tag in session.run(_OVERDUE, keys, self.visibility_timeout, most):
                # Stock kombu took it.
                super().restore_by_tag(tag.decode())
        except ResponseError as error:
            _log.warning("what is overdue stays where it is: %s", error)

    def restore_by_tag(self, tag: str, client: Any = None, leftmost: bool = False) -> None:
        """Give a message back as a dead consumer's, whoever has it."""
        if not self.session.run(_RESTORE, self.session.keys.of_claims[:3], tag):
            super().restore_by_tag(tag, client, leftmost)
