"""Servers that keep a ledger: whatever reaches them is in it, however it looks."""

import socketserver
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

__all__ = ["Recorder", "RpcRecorder"]

_OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 17\r\n\r\n" + b'{"data": {"a":1}}'


class Recorder:
    """HTTP/1.1 at a loopback port.

    Attributes:
        connections: how many there were.
        heads: of each request, first line and headers as they came.
        answers: path → what is answered, and the connection closed; every other path gets 200.
    """

    def __init__(self) -> None:
        self.connections = 0
        self.heads: list[str] = []
        self.answers: Mapping[str, bytes] = {}
        recorder = self

        class Link(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                recorder.connections += 1
                try:
                    while recorder._one(self):
                        pass
                except OSError:
                    pass

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            request_queue_size = 500

        self._server = Server(("127.0.0.1", 0), Link)
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    def _one(self, link: socketserver.StreamRequestHandler) -> bool:
        lines = []
        while (line := link.rfile.readline(1 << 20)) not in (b"\r\n", b""):
            lines.append(line.decode("latin-1").rstrip("\r\n"))
        if not lines:
            return False
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        link.rfile.read(int(headers.get("content-length", "0")))
        self.heads.append("\n".join(lines))
        special = self.answers.get(lines[0].split(" ")[1])
        link.wfile.write(_OK if special is None else special)
        return special is None

    @property
    def url(self) -> str:
        """Its base URL."""
        return f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        """Stop."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)


class RpcRecorder(grpc.GenericRpcHandler):
    """gRPC at a loopback port; answers every method with an empty message.

    Attributes:
        rpcs: method and metadata of each.
    """

    def __init__(self) -> None:
        self.rpcs: list[tuple[str, Any]] = []
        self._server = grpc.server(ThreadPoolExecutor(8), options=[("grpc.so_reuseport", 0)])
        self._server.add_generic_rpc_handlers((self,))
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()

    def service(self, handler_call_details: Any) -> Any:
        self.rpcs.append((handler_call_details.method, handler_call_details.invocation_metadata))
        return grpc.unary_unary_rpc_method_handler(lambda request, context: b"")

    def close(self) -> None:
        """Stop."""
        self._server.stop(0).wait(5)
