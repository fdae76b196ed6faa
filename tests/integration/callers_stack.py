"""A worker that believes three callers, the service they call, and what is on the broker."""

import json
import os
import subprocess
import sys
from base64 import b64decode, b64encode
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

import redis
from celery import Celery
from click.testing import CliRunner

from gateway import Catalogue, Gateway, PendingCall, Settings
from gateway.broker import close_app
from gateway.cli import main
from gateway.dev.valkey import Valkey
from tests.servers.counting import CountingService
from tests.servers.keys import sealing_pair, signing_pair
from tests.servers.worker import Worker

__all__ = ["ALGORITHMS", "ORDERS", "ORDERS_NEW", "CallersStack", "body_of", "with_body"]

ORDERS, ORDERS_NEW = "orders-secret-" + "o" * 32, "orders-new-secret-" + "n" * 32
#: Callers by the kind of their key.
ALGORITHMS = {"orders": "HS256", "billing": "Ed25519"}
_BROKER, _RESULTS = 13, 14

_CATALOGUE = """
[defaults]
retry = { attempts = 1 }
breaker = { enabled = false }

[services.users]
rest.url = "${COUNTING_URL}"

[services.other]
rest.url = "${COUNTING_URL}"
auth = { type = "service-key", secret = "env:OTHER_KEY", header = "authorization" }

[callers.orders]
keys = ["env:ORDERS_KEY", "env:ORDERS_KEY_NEW"]
allow = ["users GET /users/**", "users POST /users/**", "other GET /users/*"]

[callers.billing]
key = "env:BILLING_KEY"
allow = ["users * /**"]

[callers.idle]
key = "env:ORDERS_KEY"

[sealing]
public = "file:SEAL_PUBLIC"
private = ["file:SEAL_PRIVATE", "file:SEAL_OLD"]
"""


class CallersStack:
    """All of it, on free ports.

    Args:
        valkey: two of its databases are emptied.
        folder: takes logs, keys and the catalogue.
    """

    def __init__(self, valkey: Valkey, folder: Path) -> None:
        self.valkey, self.folder = valkey, folder
        for number in (_BROKER, _RESULTS):
            with redis.Redis.from_url(valkey.url(number)) as client:
                client.flushdb()
        self.service = CountingService(folder)
        self.billing, public = signing_pair()
        self._write_seals()
        config = folder / "gateway.toml"
        config.write_text(_CATALOGUE.replace("file:SEAL", f"file:{folder}/SEAL"))
        self._environment = {
            "GATEWAY_BROKER_URL": valkey.url(_BROKER),
            "GATEWAY_RESULT_URL": valkey.url(_RESULTS),
            "GATEWAY_CONFIG": str(config),
            "COUNTING_URL": self.service.url,
        }
        self.environment = {
            **self._environment,
            "ORDERS_KEY": ORDERS,
            "ORDERS_KEY_NEW": ORDERS_NEW,
            "BILLING_KEY": public,
            "OTHER_KEY": "other-service-key",
        }
        self.catalogue = Catalogue.load(config)
        self.worker = Worker("workers.app", folder, env=self.environment)
        self._open: list[Gateway] = []
        self._apps: list[Celery] = []

    def _write_seals(self) -> None:
        private, public = sealing_pair()
        (self.folder / "SEAL_PRIVATE").write_text(private)
        (self.folder / "SEAL_PUBLIC").write_text(public)
        old, self.old_seal = sealing_pair()
        (self.folder / "SEAL_OLD").write_text(old)

    def gateway(self, caller: str | None, key: str | None, catalogue: Catalogue | None = None) -> Gateway:
        """Of a producer; without a catalogue of its own it has the workers'."""
        who = {"GATEWAY_CALLER": caller, "GATEWAY_CALLER_KEY": key}
        settings = Settings.from_env({**self._environment, **{name: value for name, value in who.items() if value}})
        made = Gateway(settings, catalogue or self.catalogue)
        self._open.append(made)
        return made

    def known(self, caller: str) -> Gateway:
        """Of a caller that the worker knows, by its right key."""
        return self.gateway(caller, {"orders": ORDERS, "billing": self.billing}[caller])

    def capture(self, gateway: Gateway, *arguments: Any, **options: Any) -> dict[str, Any]:
        """A message as this producer enqueues it: taken from its queue before a worker can."""
        queue = f"captured-{uuid4().hex}"
        draft = gateway._intake.draft(
            *arguments,
            **{
                **dict.fromkeys(("correlation_id", "idempotency_key", "request_id", "traceparent", "tracestate")),
                "deadline": 30.0,
                **options,
            },
        )
        message = draft.at(gateway._results.now())
        gateway._publisher.send([message._replace(options={**message.options, "queue": queue})])
        with redis.Redis.from_url(self.valkey.url(_BROKER)) as client:
            raw: Any = client.rpop(queue)
        found: dict[str, Any] = json.loads(raw)
        return found

    def enqueue(self, message: dict[str, Any], queue: str = "gateway") -> None:
        """Put a message, whatever it is, where the worker takes its calls from."""
        message["properties"]["delivery_tag"] = str(uuid4())
        with redis.Redis.from_url(self.valkey.url(_BROKER)) as client:
            client.lpush(queue, json.dumps(message))

    def plain(self) -> Celery:
        """An app of somebody who has nothing of this package."""
        app = Celery(broker=self.valkey.url(_BROKER), backend=self.valkey.url(_RESULTS), set_as_current=False)
        app.conf.update(task_serializer="json", accept_content=["json"])
        self._apps.append(app)
        return app

    def cli(self, *arguments: str, code: int = 0) -> str:
        """What a command prints where the workers are."""
        done = CliRunner(env={**self.environment, "COLUMNS": "200"}).invoke(main, arguments)
        assert done.exit_code == code, done.output
        return done.output

    def run(self, code: str, caller: str) -> str:
        """What a producer's program prints."""
        who = {"GATEWAY_CALLER": caller, "GATEWAY_CALLER_KEY": ORDERS}
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", code],
            env={**os.environ, **self._environment, **who},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def pending(self, message: dict[str, Any]) -> PendingCall:
        """The handle of a message's call."""
        return self.gateway(None, None).pending(message["headers"]["id"])

    def close(self) -> None:
        """Stop all of it."""
        for app in self._apps:
            close_app(app)
        for gateway in self._open:
            gateway.close()
        self.worker.process.stop()
        self.service.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


def body_of(message: dict[str, Any]) -> list[Any]:
    """`[args, kwargs, embed]` of a message on Redis."""
    found: list[Any] = json.loads(b64decode(message["body"]))
    return found


def with_body(message: dict[str, Any], body: list[Any]) -> dict[str, Any]:
    """The same message with another body."""
    return {**message, "body": b64encode(json.dumps(body).encode()).decode()}
