"""Our Redis transport behind Sentinels: what was taken stays with the process when the master changes."""

import time
from pathlib import Path
from typing import Any

import pytest
import redis
from kombu import Connection, Producer
from kombu.transport import TRANSPORT_ALIASES

from tests.integration.taker import Taker, queue
from tests.servers.sentinel import MASTER, Watched
from workers.broker.sessions import sessions


def test_a_failover(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # As the workers' app has it: kombu goes by the scheme when it tries another address.
    monkeypatch.setitem(TRANSPORT_ALIASES, "sentinel", "workers.broker.redis:SentinelTransport")
    options: dict[str, Any] = {"master_name": MASTER, "socket_timeout": 2, "socket_connect_timeout": 1}
    with Watched(tmp_path) as watched:
        url = ";".join(f"sentinel://127.0.0.1:{port}/0" for port in watched.sentinel_ports)
        with Connection(url, transport_options=options) as connection:
            queue("q")(connection.default_channel).declare()
            for number in range(5):
                Producer(connection).publish({"n": number}, routing_key="q", exchange="q", serializer="json")
        taker = _taker(url, options)
        taker.turn(lambda: len(taker.got) == 3)
        old = watched.master_port
        with redis.Redis(port=old) as master:
            master.wait(1, 5000)
        watched.servers[old].kill()
        taker.close()
        again = _connected(url, options)
        again.turn(lambda: again.session.flush(1.0), 20.0)
        assert again.got == []
        for message in taker.got:
            message.ack()
        again.turn(lambda: len(again.got) == 2)
        again.settled()
        with redis.Redis(port=watched.master_port) as master:
            assert (master.llen("q"), master.hlen("unacked")) == (0, 2)
        again.close()
        sessions.end()


def _taker(url: str, options: dict[str, Any]) -> Taker:
    return Taker(url, "q", credit=3, transport="workers.broker.redis:SentinelTransport", **options)


def _connected(url: str, options: dict[str, Any]) -> Taker:
    """As soon as there is a master again."""
    ends = time.monotonic() + 30
    while True:
        try:
            return _taker(url, options)
        except Exception:
            assert time.monotonic() < ends, "no master was found"
            time.sleep(0.1)
