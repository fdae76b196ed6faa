"""A worker of the real app between a broker that anybody writes to and services that keep ledgers."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import redis

from gateway import Catalogue, Gateway, Settings
from gateway.dev.valkey import Valkey
from gateway.routing import FRONT_QUEUE
from tests.hostile.case import Message, graphql, grpc, rest
from tests.hostile.recorder import Recorder, RpcRecorder
from tests.servers.worker import Worker

__all__ = ["Scene"]

_CATALOGUE = """
[defaults]
retry = { attempts = 1 }
breaker = { enabled = false }
limit = { concurrency = 20 }

[services.users]
rest.url = "${USERS_URL}"
graphql.url = "${USERS_URL}/graphql"
grpc = { target = "${USERS_TARGET}", protos = ["goodgo/user/v1/user.proto"], include = ["${PROTOS}"] }

[services.hostile-0]
rest.url = "${HOSTILE_URL}"

[services.hostile-3]
rest = { url = "${HOSTILE_URL}", redirects = 3 }
"""
_ROOT = Path(__file__).resolve().parents[2]
#: Seconds that an outcome may take, with hundreds of others before it.
_PATIENCE_S = 60.0


class Scene:
    """All of it, on free ports.

    Attributes:
        users, rpc: the service that is meant.
        hostile: one that answers with what it is told.
        elsewhere: another one, where nothing may arrive.
        marker: a file that exists as soon as a message ran code.
        worker: it must outlive everything.
        gateway: a producer.
    """

    def __init__(self, valkey: Valkey, folder: Path) -> None:
        self.users, self.hostile, self.elsewhere = Recorder(), Recorder(), Recorder()
        self.rpc = RpcRecorder()
        self.marker = folder / "it-ran"
        config = folder / "gateway.toml"
        config.write_text(_CATALOGUE)
        environment = {
            "GATEWAY_BROKER_URL": valkey.url(1),
            "GATEWAY_RESULT_URL": valkey.url(2),
            "GATEWAY_CONFIG": str(config),
            "USERS_URL": self.users.url,
            "USERS_TARGET": f"127.0.0.1:{self.rpc.port}",
            "HOSTILE_URL": self.hostile.url,
            "PROTOS": str(_ROOT / "protos"),
            "HOSTILE_MARKER": str(self.marker),
        }
        self.broker: redis.Redis = redis.Redis.from_url(valkey.url(1))
        self.broker.flushdb()
        redis.Redis.from_url(valkey.url(2)).flushdb()
        self.gateway = Gateway(Settings.from_env(environment), Catalogue.load(config))
        self.worker = Worker("workers.app", folder, env=environment, concurrency=50)

    def put(
        self,
        body: str,
        headers: Mapping[str, Any] | None = None,
        envelope: Mapping[str, Any] | None = None,
    ) -> str:
        """Put a message into the queue as anybody could who reaches the broker; its id."""
        call_id = str(uuid4())
        more = dict(envelope or {})
        properties = {
            "delivery_tag": str(uuid4()),
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": FRONT_QUEUE},
            "priority": 0,
            **more.pop("properties", {}),
        }
        entry = {
            "body": body,
            "content-encoding": "utf-8",
            "content-type": "application/json",
            "headers": {"task": "gateway.call", "id": call_id, **(headers or {})},
            "properties": properties,
            **more,
        }
        self.broker.lpush(FRONT_QUEUE, json.dumps(entry))
        return call_id

    def put_call(self, args: list[Any], kwargs: Mapping[str, Any]) -> str:
        """Put the message of a call. Whatever has to go with one to be believed, such as a signature, belongs here."""
        return self.put(json.dumps([args, dict(kwargs), {}]))

    def put_message(self, message: Message) -> str:
        """Put what is no message."""
        body = message.body if isinstance(message.body, str) else message.body()
        return self.put(body, message.headers, message.envelope)

    def outcome(self, call_id: str) -> Any:
        """What a call ended with: the reply as a dict, or the error."""
        try:
            return self.gateway.celery.AsyncResult(call_id).get(timeout=_PATIENCE_S)
        except Exception as error:
            # Its frames hold the result, which asks the store when it is collected: there may be none by then.
            return error.with_traceback(None)

    def canaries(self) -> None:
        """Calls that are good, one of each protocol: that they arrive shows that the ledgers would have the others."""
        before = len(self.users.heads), len(self.rpc.rpcs)
        for call in (rest("/canary"), graphql("{ canary }"), grpc()):
            outcome = self.outcome(self.put_call([], {"version": 1, "call": call}))
            assert isinstance(outcome, dict), outcome
        assert (len(self.users.heads), len(self.rpc.rpcs)) == (before[0] + 2, before[1] + 1)

    def peak_mib(self) -> int:
        """The most memory that the worker has had."""
        status = Path(f"/proc/{self.worker.pid}/status").read_text()
        (line,) = [line for line in status.splitlines() if line.startswith("VmHWM")]
        return int(line.split()[1]) // 1024

    def close(self) -> None:
        """Stop all of it."""
        self.gateway.close()
        self.worker.stop()
        for server in (self.users, self.hostile, self.elsewhere, self.rpc):
            server.close()
        self.broker.close()
