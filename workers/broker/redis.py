"""Kombu's Redis transport, made safe against what is no message.

Kombu takes an entry off its list first and looks at it then: one that is not JSON, or lacks what every message has,
ends the connection. That redelivers everything which runs at the moment, or ends the worker. Here such an entry is put
aside and delivered as an empty message of an unreadable type, which the consumer refuses like any other.
"""

import base64
import logging
import re
from queue import Empty
from typing import Any
from uuid import uuid4

from kombu.transport import redis as kombu_redis
from kombu.utils.encoding import bytes_to_str
from kombu.utils.json import loads

from gateway.codec import TASK

__all__ = ["ASIDE_KEY", "Channel", "Transport", "readable"]

_log = logging.getLogger("gateway.broker")

#: Takes entries that are no messages, the newest first, for whoever wants to know where they come from.
ASIDE_KEY = "gateway:unreadable"
_ASIDE_MOST = 1000

_ID = re.compile(r"[\x21-\x7e]{1,200}")


def readable(entry: Any) -> bool:
    """Whether an entry of a queue has what kombu takes for granted."""
    if not isinstance(entry, dict):
        return False
    headers, properties, body = entry.get("headers"), entry.get("properties"), entry.get("body")
    if not isinstance(headers, dict) or not isinstance(properties, dict) or not isinstance(body, str):
        return False
    tag, info = properties.get("delivery_tag"), properties.get("delivery_info")
    if not isinstance(tag, str) or not tag or not isinstance(info, dict):
        return False
    if not all(isinstance(info.get(name, ""), str | None) for name in ("exchange", "routing_key")):
        return False
    encoding = properties.get("body_encoding")
    if encoding not in (None, "base64"):
        return False
    try:
        base64.b64decode(body) if encoding else None
    except ValueError:
        return False
    return True


class Channel(kombu_redis.Channel):
    """A channel that survives whatever lies in its queues."""

    _kept: "tuple[object, Any] | None" = None

    def _create_client(self, asynchronous: bool = False) -> Any:
        """As kombu's, which makes a client anew for each operation: of a worker at full speed that is every tenth step.

        One client takes a connection from its pool for each command, so threads may share it.
        """
        kombu: Any = super()
        if asynchronous:
            return kombu._create_client(asynchronous=True)
        pool = kombu.pool
        if self._kept is None or self._kept[0] is not pool:
            self._kept = (pool, kombu._create_client())
        return self._kept[1]

    def _brpop_read(self, **options: Any) -> bool:
        """As kombu's, with a look at the entry between taking and delivering it."""
        kombu: Any = self  # whose stubs know few of these names
        try:
            try:
                taken = kombu.client.parse_response(kombu.client.connection, "BRPOP", **options)
            except kombu.connection_errors:
                # Without the disconnect the next read would go on in the middle of a reply.
                kombu.client.connection.disconnect()
                raise
            if not taken:
                raise Empty
            queue = bytes_to_str(taken[0]).rsplit(kombu.sep, 1)[0]
            kombu._queue_cycle.rotate(queue)
            kombu.connection._deliver(self._read_entry(taken[1], queue), queue)
            return True
        finally:
            kombu._in_poll = None
            kombu._flush_brpop_reauth()

    def _read_entry(self, raw: bytes, queue: str) -> dict[str, Any]:
        try:
            entry: Any = loads(bytes_to_str(raw))
        except Exception:  # kombu's own types fail in their own ways
            entry = None
        if readable(entry):
            message: dict[str, Any] = entry
            return message
        _log.error("an entry of the queue %s is no message; it is kept in %s", queue, ASIDE_KEY)
        kombu: Any = self
        with kombu.conn_or_acquire() as client, client.pipeline() as pipe:
            pipe.lpush(ASIDE_KEY, raw)
            pipe.ltrim(ASIDE_KEY, 0, _ASIDE_MOST - 1)
            pipe.execute()
        return _unreadable(entry, queue)


class Transport(kombu_redis.Transport):
    """Select it with `broker_transport = "workers.broker.redis:Transport"`; takes what any kombu producer enqueues."""

    Channel = Channel


def _unreadable(entry: Any, queue: str) -> dict[str, Any]:
    """A message in place of an entry that is none; it has the entry's id, so that who waits for it gets an error."""
    headers = entry.get("headers") if isinstance(entry, dict) else None
    given = headers.get("id") if isinstance(headers, dict) else None
    call_id = given if isinstance(given, str) and _ID.fullmatch(given) else str(uuid4())
    return {
        "body": "",
        "content-type": "application/x-unreadable",
        "content-encoding": "utf-8",
        # Named as ours: it is kept already, and must not be put back for another application.
        "headers": {"id": call_id, "task": TASK},
        "properties": {
            "delivery_tag": str(uuid4()),
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": queue},
            "body_encoding": None,
        },
    }
