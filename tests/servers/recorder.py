"""An HTTP service in a thread that answers 200 and keeps the headers of each request."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

__all__ = ["Recorder"]


class Recorder:
    """Listens on a free port of loopback from its construction on.

    Attributes:
        requests: the headers of each, names in lower case, in the order in which they arrived.
        bodies: the same of their bodies.
    """

    def __init__(self) -> None:
        self.requests: list[dict[str, str]] = []
        self.bodies: list[bytes] = []
        requests, bodies = self.requests, self.bodies

        class Answer(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                bodies.append(self.rfile.read(int(self.headers.get("content-length") or 0)))
                requests.append({name.lower(): value for name, value in self.headers.items()})
                self.send_response(200)
                self.send_header("content-length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            do_POST = do_GET  # noqa: N815 - as the base class calls it

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as the base class has it
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        """Its base URL."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
