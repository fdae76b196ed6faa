"""The demo user service as a child process."""

import json
import os
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from gateway.dev.process import Process, ProcessError

__all__ = ["UserService"]

_ROOT = Path(__file__).resolve().parents[2]


class UserService:
    """`python -m examples.user_service`, ready when the constructor returns.

    Args:
        folder: takes the log.
        key: the key that it accepts; several with commas between them.
        rest_port, grpc_port: free ones by default.
    """

    def __init__(self, folder: Path, *, key: str = "user-service-key", rest_port: int = 0, grpc_port: int = 0) -> None:
        self.folder = folder
        self.key = key
        self._start(rest_port, grpc_port)

    def _start(self, rest_port: int, grpc_port: int) -> None:
        log = self.folder / "user-service.log"
        self._logged = log.stat().st_size if log.exists() else 0
        argv = [sys.executable, "-m", "examples.user_service"]
        self.process = Process(
            "user-service",
            [*argv, "--rest-port", str(rest_port), "--grpc-port", str(grpc_port)],
            log=log,
            env={**os.environ, "INTERNAL_API_KEY": self.key},
            cwd=_ROOT,
        )
        try:
            self.process.wait_until(lambda: self._addresses() is not None, timeout=30)
        except ProcessError:
            self.process.kill()
            raise
        addresses = self._addresses() or {}
        self.rest_url: str = addresses["rest"]
        self.graphql_url: str = addresses["graphql"]
        self.grpc_target: str = addresses["grpc"]

    def _addresses(self) -> dict[str, Any] | None:
        """The line that it prints when it is ready; a line that is not complete yet is none."""
        written = self.process.log.read_bytes()[self._logged :].decode("utf-8", "replace")
        for line in written.splitlines(keepends=True):
            if line.startswith('{"rest"') and line.endswith("\n"):
                addresses: dict[str, Any] = json.loads(line)
                return addresses
        return None

    @property
    def environment(self) -> dict[str, str]:
        """The variables by which a catalogue finds it."""
        return {
            "USER_SERVICE_URL": self.rest_url,
            "USER_SERVICE_GRAPHQL_URL": self.graphql_url,
            "USER_SERVICE_GRPC_TARGET": self.grpc_target,
            "INTERNAL_API_KEY": self.key.partition(",")[0],
        }

    def restart(self) -> None:
        """Start it again on the same ports after it was stopped or killed; its users are as in the beginning."""
        self.process.stop()
        self._start(int(self.rest_url.rpartition(":")[2]), int(self.grpc_target.rpartition(":")[2]))

    def stop(self) -> None:
        """Stop it."""
        self.process.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"<UserService {self.rest_url} {self.grpc_target} {self.process!r}>"
