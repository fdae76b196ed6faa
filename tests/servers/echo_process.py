"""A service that says back whatever it is sent, above all its credentials: in bodies, headers, errors and details.

`python -m tests.servers.echo_process` prints its HTTP port and its gRPC port in one line.

HTTP: `/say/<status>/<form>`, where the form is `json`, `text`, `bytes`, `broken` (JSON that ends early) or `headers`;
`/hang`; `/graphql`; `/token` gives the token `$ECHO_TOKEN`. gRPC: `GetUser` answers with its metadata as the user's
name, and for the user `bad` with a status that has it in its details and its trailing metadata.
"""

import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc

_SERVICE = "/goodgo.user.v1.UserService/"


class Echo(BaseHTTPRequestHandler):
    """Answers any method."""

    protocol_version = "HTTP/1.1"

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        said = {name.lower(): value for name, value in self.headers.items()}
        if self.path == "/token":
            token = {"access_token": os.environ["ECHO_TOKEN"], "token_type": "Bearer", "said": said}
            self._send(200, "application/json", json.dumps(token).encode())
            return
        if self.path == "/hang":
            time.sleep(3)
        if self.path == "/graphql":
            errors = [{"message": f"you sent {said}", "extensions": {"said": said}}]
            whole = json.dumps({"data": {"said": said}, "errors": errors})
            self._send(200, "application/json", whole.encode())
            return
        *_, status, form = ("", "200", "json", *self.path.split("/"))[-2:]
        text = "\n".join(f"{name}: {value}" for name, value in said.items())
        whole = json.dumps({"said": said, "text": text, "body": body.decode("latin-1"), said.get("x-key", "a"): 1})
        forms = {
            "text": ("text/plain", text.encode()),
            "bytes": ("application/octet-stream", b"\xff\x00" + text.encode()),
            "broken": ("application/json", whole.encode()[:-1]),
        }
        kind, content = forms.get(form, ("application/json", whole.encode()))
        self._send(int(status), kind, content, said if form == "headers" else {})

    def _send(self, status: int, kind: str, content: bytes, said: dict[str, str] | None = None) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(content)))
        for name, value in (said or {}).items():
            if name not in ("host", "content-length", "connection", "transfer-encoding", "accept-encoding"):
                self.send_header(f"x-said-{name}", value)
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = _answer  # noqa: N815 - as the base class calls them

    def log_message(self, *args: object) -> None:
        pass


def _field(number: int, value: bytes) -> bytes:
    """A length-delimited field of protobuf's wire format."""
    size, head = len(value), bytes([number << 3 | 2])
    while size > 127:
        head += bytes([size & 127 | 128])
        size >>= 7
    return head + bytes([size]) + value


class EchoRpc(grpc.GenericRpcHandler):
    """Answers `GetUser` and `StreamUserUpdates`."""

    def service(self, details: Any) -> Any:
        metadata = list(details.invocation_metadata)
        text = "\n".join(f"{name}: {value}" for name, value in metadata)

        def answer(request: bytes, context: Any) -> bytes:
            if b"bad" in request:
                context.set_trailing_metadata([(f"x-said-{name}", value) for name, value in metadata if name[0] != "g"])
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"you sent {text}")
            return _field(1, _field(2, text.encode()))

        def stream(request: bytes, context: Any) -> Any:
            yield _field(1, _field(2, text.encode()))

        if details.method == f"{_SERVICE}GetUser":
            return grpc.unary_unary_rpc_method_handler(answer)
        return grpc.unary_stream_rpc_method_handler(stream) if details.method.startswith(_SERVICE) else None


def main() -> None:
    """Listen until the process is ended."""
    rpc = grpc.server(ThreadPoolExecutor(8))
    rpc.add_generic_rpc_handlers((EchoRpc(),))
    port = rpc.add_insecure_port("127.0.0.1:0")
    rpc.start()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    print(server.server_port, port, flush=True)  # noqa: T201 - whoever started it reads it
    server.serve_forever()


if __name__ == "__main__":
    main()
