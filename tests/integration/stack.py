"""Valkey, the demo user service and one worker, as an operator would start them."""

import socket
from pathlib import Path

from gateway import Catalogue, Gateway, Settings
from gateway.dev.valkey import Valkey
from tests.servers.user_service import UserService
from tests.servers.worker import Worker

__all__ = ["Stack"]

# One attempt each, and no breaker: a test that makes the service fail must not change what the next one sees.
_CATALOGUE = """
[defaults]
retry = { attempts = 1 }
breaker = { enabled = false }

[services.user-service]
rest.url = "${USER_SERVICE_URL}"
graphql.url = "${USER_SERVICE_GRAPHQL_URL}"
grpc = { target = "${USER_SERVICE_GRPC_TARGET}", protos = ["goodgo/user/v1/user.proto"], include = ["${PROTOS}"] }
auth = { type = "service-key", secret = "env:INTERNAL_API_KEY" }
interceptors.before = ["tests.integration.interceptors:add_tenant"]
interceptors.after = ["tests.integration.interceptors:mark_reply"]

[services.wrong-key]
rest.url = "${USER_SERVICE_URL}"
grpc = { target = "${USER_SERVICE_GRPC_TARGET}", protos = ["goodgo/user/v1/user.proto"], include = ["${PROTOS}"] }
auth = { type = "service-key", secret = "env:WRONG_API_KEY" }

[services.closed]
rest.url = "${CLOSED_URL}"
"""

_ROOT = Path(__file__).resolve().parents[2]


class Stack:
    """All that a call needs, on free ports.

    Args:
        valkey: the server to use; its databases 6 and 7 are emptied.
        folder: takes logs and the catalogue.
        broker_url: carries the calls in the place of database 6.
    """

    def __init__(self, valkey: Valkey, folder: Path, broker_url: str | None = None) -> None:
        self.users = UserService(folder)
        # Bound, and never listening: connecting to it is refused for as long as it is held.
        self._closed = socket.socket()
        self._closed.bind(("127.0.0.1", 0))
        self.config = folder / "gateway.toml"
        self.config.write_text(_CATALOGUE)
        self.environment = {
            "GATEWAY_BROKER_URL": broker_url or valkey.url(6),
            "GATEWAY_RESULT_URL": valkey.url(7),
            "GATEWAY_CONFIG": str(self.config),
            "USER_SERVICE_URL": self.users.rest_url,
            "USER_SERVICE_GRAPHQL_URL": self.users.graphql_url,
            "USER_SERVICE_GRPC_TARGET": self.users.grpc_target,
            "CLOSED_URL": f"http://127.0.0.1:{self._closed.getsockname()[1]}",
            "INTERNAL_API_KEY": self.users.key,
            "WRONG_API_KEY": "wrong-key-canary",
            "PROTOS": str(_ROOT / "protos"),
        }
        self.folder = folder
        self.worker = Worker("workers.app", folder, env=self.environment, concurrency=300)
        self.settings = Settings.from_env(self.environment)
        self.gateway = Gateway(self.settings, Catalogue.load(self.config))

    def close(self) -> None:
        """Stop all of it."""
        self.gateway.close()
        self.worker.process.stop()
        self.users.stop()
        self._closed.close()
