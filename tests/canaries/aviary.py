"""The whole system with a canary in the place of each secret, and a service that says back whatever it is sent."""

import re
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Self

import redis
import trustme

from gateway import Gateway, GraphQLCall, GrpcCall, RestCall
from gateway.call import Call, protocol_of
from gateway.dev.flower import Flower
from gateway.dev.process import Process, free_port
from gateway.dev.rabbitmq import RabbitMQ
from gateway.dev.valkey import Valkey
from gateway.errors import ServiceError
from tests.canaries.canary import Nest
from tests.canaries.spy import Spy
from tests.servers.keys import sealing_pair, signing_pair
from tests.servers.worker import Worker

__all__ = ["SCHEMES", "Aviary"]

_ROOT = Path(__file__).resolve().parents[2]
_FLOWER = re.compile(r"Visit me at (?:via )?(http://\S+)")

#: Each way in which the gateway shows a service who it is: a service of its own.
SCHEMES: Mapping[str, str] = {
    "service-key": 'auth = { type = "service-key", secret = "env:SERVICE_KEY" }',
    "plain-authorization": 'auth = { type = "service-key", secret = "env:OTHER_KEY", header = "authorization" }',
    "bearer": 'auth = { type = "bearer", secret = "env:BEARER_TOKEN" }',
    "basic": 'auth = { type = "basic", user = "gateway", secret = "env:PASSWORD" }',
    "oauth2": (
        'auth = { type = "oauth2", token_url = "${ECHO_URL}/token", client_id = "c", secret = "env:CLIENT_SECRET" }'
    ),
    "jwt-shared": 'auth = { type = "jwt", secret = "env:JWT_SECRET" }',
    "jwt-signed": 'auth = { type = "jwt", secret = "env:JWT_KEY" }',
    # It signs bodies of HTTP, so this service has no gRPC.
    "webhook": 'auth = { type = "webhook", secret = "env:WEBHOOK_SECRET" }',
    "no-credentials": "",
}
_WITHOUT_GRPC = "webhook"
_SERVICE = """
[services.{name}]
rest.url = "${{ECHO_URL}}"
graphql.url = "${{ECHO_URL}}/graphql"
{auth}
"""
_GRPC = """
[services.{name}.grpc]
target = "${{ECHO_TARGET}}"
protos = ["goodgo/user/v1/user.proto"]
include = ["{protos}"]
"""
_MTLS = """
[services.mtls]
rest.url = "https://127.0.0.1:1"
tls = {{ cert = "file:{folder}/client.crt", key = "file:{folder}/client.key" }}
"""
_CATALOGUE = """
[defaults]
timeouts = { attempt = 1.0, total = 3.0 }
retry = { attempts = 2, backoff = 0.05 }
breaker = { enabled = false }

[callers.orders]
key = "env:ORDERS_KEY"
allow = ["* *"]

[callers.billing]
key = "env:BILLING_KEY"
allow = ["* *"]

[sealing]
public = "env:SEAL_PUBLIC"
private = ["env:SEAL_PRIVATE"]
"""


class Aviary:
    """See the module.

    Args:
        folder: takes logs, data and the catalogue.
        rabbitmq: carries the calls in the place of Redis.

    Attributes:
        nest: has all canaries.
        call_ids: of the calls that were made.
        answered: services that answered with a reply, and by which protocol.
    """

    def __init__(self, folder: Path, rabbitmq: RabbitMQ | None = None) -> None:
        self.nest = Nest()
        self.call_ids: list[str] = []
        self.answered: set[tuple[str, str]] = set()
        self._folder = folder
        self._processes: list[Process] = []
        valkey = Valkey(folder)
        self._processes.append(valkey.process)
        password = self.nest.new("redis password")
        with redis.Redis.from_url(valkey.url(0)) as client:
            client.config_set("requirepass", password)
        self.redis_url = valkey.url(0).replace("://", f"://:{password}@")
        self.spy = None if rabbitmq is None else Spy(rabbitmq, self.nest.new("rabbitmq password"))
        self.environ = {"ECHO_TOKEN": self.nest.new("access token")}
        echo = self._start("echo", "-m", "tests.servers.echo_process")
        echo.wait_until(lambda: echo.output().endswith("\n"), timeout=30)
        http, rpc = echo.output().split()
        config = folder / "gateway.toml"
        services = [
            _SERVICE.format(name=name, auth=auth)
            + ("" if name == _WITHOUT_GRPC else _GRPC.format(name=name, protos=_ROOT / "protos"))
            for name, auth in SCHEMES.items()
        ]
        config.write_text(_CATALOGUE + "".join(services) + _MTLS.format(folder=folder))
        billing, public = signing_pair()
        seal_private, seal_public = sealing_pair()
        self.environ = {
            "GATEWAY_BROKER_URL": self.redis_url if self.spy is None else self.spy.url,
            "GATEWAY_RESULT_URL": self.redis_url[:-1] + "1",
            "GATEWAY_CONFIG": str(config),
            "ECHO_URL": f"http://127.0.0.1:{http}",
            "ECHO_TARGET": f"127.0.0.1:{rpc}",
            "SERVICE_KEY": self.nest.new("service key"),
            "OTHER_KEY": self.nest.new("authorization"),
            "BEARER_TOKEN": self.nest.new("bearer token"),
            "PASSWORD": self.nest.new("password"),
            "CLIENT_SECRET": self.nest.new("client secret"),
            "JWT_SECRET": self.nest.new("jwt secret"),
            "JWT_KEY": self.nest.key("jwt key", signing_pair()[0]),
            "WEBHOOK_SECRET": "whsec_" + self.nest.webhook("webhook secret"),
            "ORDERS_KEY": self.nest.new("callers secret"),
            "BILLING_KEY": public,
            "SEAL_PRIVATE": self.nest.key("seal", seal_private),
            "SEAL_PUBLIC": seal_public,
        }
        self._write_certificate()
        self.callers = {"orders": self.environ["ORDERS_KEY"], "billing": self.nest.key("callers key", billing)}
        self.worker = Worker(
            "workers.app", folder, env=self.environ, arguments=("--loglevel", "DEBUG", "--task-events")
        )
        self.flower = Flower("", "gateway:" + self.nest.new("flower password"))
        self._flower = self._start(
            *("flower", "-m", "celery", "-A", "workers.app", "flower", f"--conf={_ROOT / 'flowerconfig.py'}"),
            *("--address=127.0.0.1", f"--port={free_port()}", "--logging=debug"),
        )
        self._flower.wait_until(lambda: _FLOWER.search(self._flower.output()) is not None, timeout=40)
        found = _FLOWER.search(self._flower.output())
        self.flower.url = found[1] if found else ""
        self._flower.wait_until(self.flower.follows_a_worker, timeout=40)

    def _write_certificate(self) -> None:
        """The gateway's own."""
        made = trustme.CA().issue_cert("gateway")
        key = self.nest.key("certificate key", made.private_key_pem.bytes().decode())
        (self._folder / "client.key").write_text(key)
        made.cert_chain_pems[0].write_to_path(str(self._folder / "client.crt"))

    def _start(self, name: str, *arguments: str) -> Process:
        env = {**getattr(self, "environ", {}), "PATH": "/usr/bin:/bin"}
        if hasattr(self, "flower"):
            env["FLOWER_BASIC_AUTH"] = self.flower.login
        process = Process(name, [sys.executable, *arguments], log=self._folder / f"{name}.log", env=env, cwd=_ROOT)
        self._processes.append(process)
        return process

    def sing(self) -> int:
        """Make calls that end in every way, from each caller to each service; how many."""
        sealed_token, sealed_cookie = self.nest.new("sealed token"), self.nest.new("sealed cookie")
        for caller, key in self.callers.items():
            environ = {**self.environ, "GATEWAY_CALLER": caller, "GATEWAY_CALLER_KEY": key}
            with Gateway.from_env(environ) as gateway:
                sealed = {"x-user-token": sealed_token, "cookie": f"session={sealed_cookie}"}
                calls = [call for name in SCHEMES for call in _calls(name)] + [RestCall("mtls", "GET", "/")]
                pending = [(call, gateway.submit(call, deadline=20.0, sealed=sealed)) for call in calls]
                for call, handle in pending:
                    self.call_ids.append(handle.id)
                    try:
                        reply = handle.result(timeout=60)
                    except ServiceError as error:
                        self.nest.search("error", repr(error) + repr(error.fields))
                    else:
                        self.nest.search("reply", repr(reply))
                        self.answered.add((call.service, protocol_of(call)))
        # What nobody takes out of its queue: the message itself is looked at.
        with Gateway.from_env(environ) as gateway:
            self.worker.process.signal(19)
            try:
                self.call_ids.append(gateway.submit(next(_calls("service-key")), deadline=60.0, sealed=sealed).id)
                self.search_store()
            finally:
                self.worker.process.signal(18)
        return len(self.call_ids)

    def search_store(self) -> None:
        """Look at every key of the store."""
        from tests.canaries.places import every_key

        for place, content in every_key(self.redis_url):
            self.nest.search(place, content)

    def search_broker(self) -> None:
        """Look at every message that went over RabbitMQ."""
        for message in () if self.spy is None else self.spy.messages():
            self.nest.search("rabbitmq", message)

    def search_logs(self) -> None:
        """Look at what the worker and Flower have logged."""
        self.nest.search("log worker", self.worker.output())
        self.nest.search("log flower", self._flower.output())

    def settle(self) -> None:
        """Wait until Flower has seen the outcomes."""
        ends = time.monotonic() + 20
        while len(self.flower.finished()) < len(self.call_ids) - 1 and time.monotonic() < ends:
            time.sleep(0.2)

    def close(self) -> None:
        """Stop all of it."""
        if self.spy is not None:
            self.spy.close()
        self.worker.process.stop()
        for process in reversed(self._processes):
            process.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


def _calls(name: str) -> Iterator[Call]:
    yield GraphQLCall(name, "query Said { said }")
    if name != _WITHOUT_GRPC:
        for user in ("good", "bad"):
            yield GrpcCall(name, "goodgo.user.v1.UserService/GetUser", {"user_id": user})
        yield GrpcCall(name, "goodgo.user.v1.UserService/StreamUserUpdates", {"user_id": "good", "count": 2})
    for form in ("json", "text", "bytes", "broken", "headers"):
        yield RestCall(name, "GET", f"/say/200/{form}")
    yield RestCall(name, "POST", "/say/200/json", json={"a": 1})
    for status in (401, 404, 500, 503):
        for form in ("json", "headers"):
            yield RestCall(name, "GET", f"/say/{status}/{form}")
    yield RestCall(name, "POST", "/hang")
    # The last, since the gateway leaves a service alone that says so.
    yield RestCall(name, "GET", "/say/429/headers")
