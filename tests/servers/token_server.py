"""A token endpoint of OAuth2 in a thread, and a service that accepts its latest token alone."""

import json
import threading
from base64 import b64decode
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs, unquote_plus

__all__ = ["TokenServer"]


class TokenServer:
    """Listens on a free port of loopback. `POST /token` gives tokens, every other path wants the latest.

    Attributes:
        forms: what was asked for, and with which id and secret.
        tokens: that were given.
        requests: `(status, headers)` of those to other paths.
        life_s: that it says tokens have.
        answer: in the place of a token: status and body.
        hold: what a request for a token waits for.
    """

    def __init__(self) -> None:
        self.forms: list[dict[str, str]] = []
        self.tokens: list[str] = []
        self.requests: list[tuple[int, dict[str, str]]] = []
        self.life_s: float = 3600.0
        self.answer: tuple[int, bytes] | None = None
        self.hold = threading.Event()
        self.hold.set()
        server = self

        class Answer(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                if self.path == "/token":
                    self._give(*server.give(body.decode(), self.headers.get("authorization")))
                else:
                    self.do_GET()

            def do_GET(self) -> None:
                headers = {name.lower(): value for name, value in self.headers.items()}
                status = 200 if headers.get("authorization") == f"Bearer {server.tokens[-1]}" else 401
                server.requests.append((status, headers))
                self._give(status, b"{}")

            def _give(self, status: int, body: bytes) -> None:
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def give(self, body: str, authorization: str | None) -> tuple[int, bytes]:
        """A new token."""
        form = {name: values[0] for name, values in parse_qs(body).items()}
        if authorization is not None:
            user, _, password = b64decode(authorization.removeprefix("Basic ")).decode().partition(":")
            form |= {"client_id": unquote_plus(user), "client_secret": unquote_plus(password)}
        self.forms.append(form)
        self.hold.wait(20)
        if self.answer is not None:
            return self.answer
        self.tokens.append(f"token-number-{len(self.tokens)}")
        told = {"access_token": self.tokens[-1], "token_type": "bearer", "expires_in": self.life_s}
        return 200, json.dumps(told).encode()

    def withdraw(self) -> None:
        """The token that was given last is good no more; the next one will be."""
        self.tokens.append("none that anybody has")

    @property
    def url(self) -> str:
        """Its base URL."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.hold.set()
        self._server.shutdown()
        self._server.server_close()
