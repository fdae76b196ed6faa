"""Run the user service: `INTERNAL_API_KEY=… python -m examples.user_service`."""

import argparse
import asyncio
import contextlib
import json
import signal
import socket
import sys
from collections.abc import Iterator

import uvicorn

from examples.user_service.behaviour import Behaviours
from examples.user_service.journal import Journal
from examples.user_service.rest import build_app
from examples.user_service.rpc import RpcServer
from examples.user_service.users import Users
from gateway.server import ServiceKeys
from gateway.server.keys import ServiceKeysError

#: How long requests may go on after SIGTERM, in seconds.
_GRACE_S = 2


class _HttpServer(uvicorn.Server):
    """uvicorn that says when it listens, and leaves signals to the program, which has a second server to stop."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Named, not 0: asyncio sets TCP_NODELAY for this protocol alone, and without it each answer waits some 40 ms.
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
    except OSError:
        bound.close()
        raise
    return bound


async def serve(keys: ServiceKeys, host: str, rest_port: int, grpc_port: int) -> None:
    """Serve until SIGTERM or SIGINT; prints one line of JSON with the addresses when both servers are ready.

    Raises:
        OSError, RuntimeError: a port is taken.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    users, journal, behaviours = Users(), Journal(), Behaviours()
    shown = f"[{host}]" if ":" in host else host
    rpc = RpcServer(users, keys, journal, behaviours, address=f"{shown}:{grpc_port}")
    with _bind(host, rest_port) as bound:
        http = _HttpServer(
            uvicorn.Config(
                build_app(users, keys, journal, behaviours),
                log_level="warning",
                access_log=False,
                lifespan="off",
                timeout_graceful_shutdown=_GRACE_S,
            )
        )
        serving = asyncio.create_task(http.serve(sockets=[bound]))
        await rpc.start()
        await http.ready.wait()
        rest = f"http://{shown}:{bound.getsockname()[1]}"
        addresses = {"rest": rest, "graphql": f"{rest}/graphql", "grpc": f"{shown}:{rpc.port}"}
        print(json.dumps(addresses), flush=True)
        await stop.wait()
        http.should_exit = True
        await asyncio.gather(serving, rpc.stop(_GRACE_S))


def main() -> int:
    """Read the arguments and serve."""
    parser = argparse.ArgumentParser(prog="python -m examples.user_service", description="A service of users.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--rest-port", type=int, default=8000, help="REST and GraphQL; 0: any (default: %(default)s)")
    parser.add_argument("--grpc-port", type=int, default=50051, help="gRPC; 0: any (default: %(default)s)")
    arguments = parser.parse_args()
    try:
        keys = ServiceKeys.load("env:INTERNAL_API_KEY")
        asyncio.run(serve(keys, arguments.host, arguments.rest_port, arguments.grpc_port))
    except ServiceKeysError as error:
        print(error, file=sys.stderr)
        return 2
    except (OSError, RuntimeError) as error:
        print(f"the user service cannot start: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
