"""A RabbitMQ server of our own, from the packages of the system, beside any other that runs."""

import os
import secrets
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from uuid import uuid4

from gateway.dev.guard import Guard
from gateway.dev.process import Process, free_port, is_listening

__all__ = ["RabbitMQ", "find_rabbitmq"]

# Debian's command on PATH is a wrapper that changes the user and knows one server; the real ones lie here.
_PLACES = ("/usr/lib/rabbitmq/bin", "/opt/homebrew/opt/rabbitmq/sbin", "/usr/local/opt/rabbitmq/sbin")
_START_S = 90.0
_ASK_S = 30.0


def find_rabbitmq() -> str:
    """Path of the server's start script.

    Raises:
        FileNotFoundError: it cannot be run here; says what to install.
    """
    path = os.pathsep.join((*_PLACES, os.environ.get("PATH", "")))
    server = shutil.which("rabbitmq-server", path=path)
    missing = [name for name in ("epmd", "erl_call") if shutil.which(name) is None]
    if server is None or missing:
        raise FileNotFoundError(
            f"{', '.join(missing if server else ['rabbitmq-server', *missing])} not found; install rabbitmq-server"
            " (Debian: apt-get install rabbitmq-server)"
        )
    return server


class RabbitMQ:
    """A server on loopback ports, its data in a folder of the caller's. It takes some seconds to start.

    It has a name server (epmd), a cookie and a node name of its own, so it neither meets nor disturbs another.

    Args:
        folder: takes the data and the logs.
        guard: ends it, should the parent be killed.

    Attributes:
        process: the server.
        epmd: its name server.
    """

    def __init__(self, folder: Path, *, guard: Guard | None = None) -> None:
        self.folder = folder
        self.port = free_port()
        self._guard = guard
        self._epmd_port = free_port()
        self._dist_port = free_port()
        self._node = f"gateway-{self.port}@localhost"
        self._cookie = secrets.token_hex(16)
        for name in ("home", "mnesia", "log"):
            (folder / name).mkdir(exist_ok=True)
        cookie = folder / "home" / ".erlang.cookie"
        cookie.unlink(missing_ok=True)
        cookie.touch(mode=0o600)
        cookie.write_text(self._cookie)
        (folder / "rabbitmq.conf").write_text("log.console = true\nlog.console.level = warning\nlog.file = false\n")
        (folder / "enabled_plugins").write_text("[].\n")
        self.epmd = self._start_epmd()
        try:
            self.process = self._start()
        except BaseException:
            self.epmd.stop()
            raise

    def _environ(self) -> Mapping[str, str]:
        inherited = {
            name: value for name, value in os.environ.items() if not name.startswith(("RABBITMQ_", "ERL_", "ELIXIR_"))
        }
        return inherited | {
            "HOME": str(self.folder / "home"),
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_CRASH_DUMP": os.devnull,
            "RABBITMQ_CONF_ENV_FILE": os.devnull,
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "enabled_plugins"),
            "RABBITMQ_NODENAME": self._node,
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self._dist_port),
            "RABBITMQ_MNESIA_BASE": str(self.folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self.folder / "log"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
            # The script becomes the server then, in place of waiting for it: the process id is the server's.
            "RUNNING_UNDER_SYSTEMD": "true",
        }

    def _start_epmd(self) -> Process:
        argv = [shutil.which("epmd") or "epmd", "-port", str(self._epmd_port), "-address", "127.0.0.1"]
        process = Process("epmd", argv, log=self.folder / "epmd.log", env=self._environ(), guard=self._guard)
        return process.wait_until(lambda: is_listening(self._epmd_port), timeout=20)

    def _start(self) -> Process:
        process = Process(
            "rabbitmq",
            [find_rabbitmq()],
            log=self.folder / "rabbitmq.log",
            env=self._environ(),
            cwd=self.folder,
            guard=self._guard,
        )
        return process.wait_until(self._answers, timeout=_START_S)

    def _answers(self) -> bool:
        return is_listening(self.port)

    def url(self, vhost: str = "/") -> str:
        """Its `amqp://` URL."""
        return f"amqp://guest:guest@127.0.0.1:{self.port}/{'%2F' if vhost == '/' else vhost}"

    def new_vhost(self) -> str:
        """Make an empty virtual host: a broker of its own for one test. Gives its name."""
        name = uuid4().hex
        self.ask(
            f'rabbit_vhost:add(<<"{name}">>, <<"guest">>), '
            f'rabbit_auth_backend_internal:set_permissions(<<"guest">>, <<"{name}">>, '
            '<<".*">>, <<".*">>, <<".*">>, <<"guest">>)'
        )
        return name

    def drop_vhost(self, name: str) -> None:
        """Delete a virtual host with its queues, and close its connections."""
        self.ask(f'rabbit_vhost:delete(<<"{name}">>, <<"guest">>)')

    def alarm(self, on: bool) -> None:
        """Let it run out of memory: it blocks whoever publishes; or end that."""
        self.ask(f"vm_memory_monitor:set_vm_memory_high_watermark({'0.0' if on else '0.4'})")

    def close_connections(self) -> None:
        """Have it close every connection, as an operator's command does."""
        self.ask('[rabbit_networking:close_connection(P, "closed by a test") || P <- rabbit_networking:connections()]')

    def ask(self, expression: str) -> str:
        """Evaluate an Erlang expression in the server; gives the answer's text.

        Raises:
            RuntimeError: it does not answer, or the expression fails.
        """
        done = subprocess.run(  # noqa: S603 - no shell; the expression is the caller's
            [shutil.which("erl_call") or "erl_call", "-sname", self._node, "-c", self._cookie, "-timeout", "10", "-e"],
            input=f"{expression}.\n",
            capture_output=True,
            text=True,
            env=dict(self._environ()),
            timeout=_ASK_S,
            check=False,
        )
        if done.returncode or not done.stdout.startswith("{ok, "):
            raise RuntimeError(f"rabbitmq: {expression}: {done.stdout or done.stderr}")
        return done.stdout[len("{ok, ") : -1]

    def kill(self) -> None:
        """End it at once, as SIGKILL does; `restart` starts it again with its data."""
        self.process.kill()

    def restart(self) -> None:
        """Start it again on the same port and with its data, after it was stopped or killed, or now."""
        self.process.stop(_ASK_S)
        self.process = self._start()

    def stop(self) -> None:
        """Stop it, and its name server."""
        self.process.stop(_ASK_S)
        self.epmd.stop()

    def __repr__(self) -> str:
        return f"<RabbitMQ on port {self.port}, {self.process!r}>"
