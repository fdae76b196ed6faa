"""A gRPC service that writes into the ledger, with the arguments PORT FILE FOLDER ANSWER_S GRACE_S.

Each RPC is one line of FILE before anything else is done with it; its path is the `case` it was asked with. The answer
takes ANSWER_S seconds. SIGTERM stops the server as gRPC servers stop: it tells its clients so (GOAWAY), takes nothing
new, and gives what runs GRACE_S seconds.
"""

import asyncio
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from google.protobuf import message_factory

from tests.servers.grpc_faults import compile_protos, load_pool

PROTO = Path(__file__).resolve().parents[1] / "protos" / "counting.proto"
SERVICE = "counting.Counter"


async def serve(port: int, file: Path, folder: Path, answer_s: float, grace_s: float) -> None:
    """Serve until SIGTERM, and as long after it as what runs needs."""
    pool = load_pool(compile_protos(folder, {PROTO.name: PROTO.read_text()}))
    ask, answer = (
        message_factory.GetMessageClass(pool.FindMessageTypeByName(f"counting.{name}")) for name in ("Ask", "Answer")
    )
    ledger = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def handler(method: str) -> Any:
        async def handle(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
            sent = dict(context.invocation_metadata() or ())
            names = ("x-request-id", "x-correlation-id", "idempotency-key")
            line = " ".join(str(value) for value in (time.monotonic(), method, request.case, *map(sent.get, names)))
            os.write(ledger, f"{line}\n".encode())
            await asyncio.sleep(answer_s)
            return answer(number=1)

        return grpc.unary_unary_rpc_method_handler(handle, ask.FromString, lambda reply: reply.SerializeToString())

    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    methods = {method: handler(method) for method in ("Read", "Put", "Add")}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))
    bound = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    asked_to_stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, asked_to_stop.set)
    print(bound, flush=True)  # noqa: T201 - its parent waits for it
    await asked_to_stop.wait()
    await server.stop(grace_s)


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), float(sys.argv[4]), float(sys.argv[5])))
