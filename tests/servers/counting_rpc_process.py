"""The counting gRPC service's own process: `python -m tests.servers.counting_rpc_process FOLDER`.

It prints its port when it listens. Each arrival is a line of JSON in `arrivals.jsonl` before it is acted on.
"""

import asyncio
import json
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from google.protobuf import message_factory

from tests.servers.grpc_faults import compile_protos, load_pool

ARRIVALS = "arrivals.jsonl"
PROTO = Path(__file__).resolve().parents[1] / "protos" / "counting.proto"
SERVICE = "counting.Counter"


async def serve(folder: Path) -> None:
    """Serve until the process is ended."""
    pool = load_pool(compile_protos(folder, {PROTO.name: PROTO.read_text()}))
    ask, answer = (
        message_factory.GetMessageClass(pool.FindMessageTypeByName(f"counting.{name}")) for name in ("Ask", "Answer")
    )
    counted: Counter[str] = Counter()

    def handler(method: str) -> Any:
        async def handle(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
            counted[request.case] += 1
            metadata = dict(context.invocation_metadata() or ())
            with (folder / ARRIVALS).open("a") as log:
                arrival = {
                    "at": time.monotonic(),
                    "unix": time.time(),
                    "method": method,
                    "case": request.case,
                    "request_id": metadata.get("x-request-id"),
                    "correlation_id": metadata.get("x-correlation-id"),
                    "idempotency_key": metadata.get("idempotency-key"),
                    "remaining_s": context.time_remaining(),
                }
                log.write(json.dumps(arrival) + "\n")
            if counted[request.case] > request.failures:
                return answer(number=counted[request.case])
            if request.status == "HANG":
                await asyncio.Event().wait()
            if request.pushback_ms:
                context.set_trailing_metadata((("grpc-retry-pushback-ms", request.pushback_ms),))
            return await context.abort(getattr(grpc.StatusCode, request.status), "as it was asked to")

        return grpc.unary_unary_rpc_method_handler(handle, ask.FromString, lambda reply: reply.SerializeToString())

    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    methods = {method: handler(method) for method in ("Read", "Put", "Add")}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)  # noqa: T201 - its parent waits for it
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
