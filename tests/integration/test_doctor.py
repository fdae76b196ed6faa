"""`gateway doctor`: what it looks at beside the servers, and how it ends."""

import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gateway.checks import Finding, Level
from gateway.checks.ports import check_ports
from gateway.checks.worker_side import check_worker_side
from gateway.cli import main
from gateway.dev.process import free_port
from gateway.dev.valkey import Valkey

CATALOGUE = """
[services.sound]
rest.url = "http://sound"

[services.secrets]
rest.url = "https://secrets"
auth = { type = "service-key", secret = "env:NOT_SET" }

[services.files]
rest.url = "https://files"
auth = { type = "service-key", secret = "file:/not/here" }

[services.protos]
grpc = { target = "localhost:1", protos = ["broken.proto"] }

[services.missing]
grpc = { target = "localhost:1", protos = ["missing.proto"] }

[services.changed]
rest.url = "http://changed"
interceptors.before = ["not_there:function"]
"""


@pytest.fixture
def catalogue(tmp_path: Path) -> Path:
    path = tmp_path / "gateway.toml"
    path.write_text(CATALOGUE)
    (tmp_path / "broken.proto").write_text('syntax = "proto3"; message M { string s = 1 }')
    return path


def doctor(valkey: Valkey, config: Path, *arguments: str, **environment: str) -> Result:
    env = {"GATEWAY_BROKER_URL": valkey.url(12), "GATEWAY_RESULT_URL": valkey.url(12), "GATEWAY_CONFIG": str(config)}
    return CliRunner(env={**env, "FLOWER_PORT": str(free_port()), "COLUMNS": "200", **environment}).invoke(
        main, ["doctor", *arguments]
    )


def test_everything_that_workers_lack_is_shown_at_once(valkey: Valkey, catalogue: Path) -> None:
    shown = doctor(valkey, catalogue, "--json")
    assert shown.exit_code == 1
    findings = json.loads(shown.output)
    errors = {finding["what"]: finding["found"] for finding in findings if finding["level"] == "error"}
    assert list(errors) == [
        "services.secrets.auth",
        "services.files.auth",
        "services.protos.grpc",
        "services.missing.grpc",
        "services.changed.interceptors",
    ]
    assert errors["services.secrets.auth"] == "env:NOT_SET: is not set in the worker's environment; set it"
    assert errors["services.files.auth"].endswith("correct the path or its rights")
    assert "broken.proto:1:" in errors["services.protos.grpc"]
    assert errors["services.protos.grpc"].endswith("correct it there")
    assert "missing.proto is in none of " in errors["services.missing.grpc"]
    assert "not_there" in errors["services.changed.interceptors"]


def test_a_sound_installation(valkey: Valkey, tmp_path: Path) -> None:
    config = tmp_path / "gateway.toml"
    config.write_text('[services.users]\nrest.url = "${USERS}"\nauth = { type = "service-key", secret = "env:KEY" }\n')
    shown = doctor(valkey, config, USERS="https://users", KEY="hunter2")
    assert shown.exit_code == 0, shown.output
    said = " ".join(shown.output.split())
    assert "ok │ workers │ secrets, certificates, interceptors and protos are there" in said
    assert "ok │ broker and result store │ Redis" in said
    assert "is free for Flower" in said
    assert "hunter2" not in said


def test_an_environment_that_is_wrong(valkey: Valkey, tmp_path: Path) -> None:
    shown = doctor(valkey, tmp_path / "none.toml", GATEWAY_BROKER_URL="http://h")
    assert shown.exit_code == 1
    assert "GATEWAY_BROKER_URL does not begin with" in " ".join(shown.output.split())
    shown = doctor(valkey, tmp_path / "none.toml")
    assert shown.exit_code == 1
    assert "set GATEWAY_CONFIG to a file" in " ".join(shown.output.split())


def test_a_producer_without_a_catalogue(valkey: Valkey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shown = doctor(valkey, tmp_path, GATEWAY_CONFIG="")
    assert shown.exit_code == 0, shown.output
    assert "none; a producer can do without, a worker cannot; set GATEWAY_CONFIG" in " ".join(shown.output.split())


def test_workers_that_cannot_even_be_asked(tmp_path: Path) -> None:
    (finding,) = check_worker_side({"GATEWAY_BROKER_URL": "redis://h", "GATEWAY_CONFIG": str(tmp_path / "none.toml")})
    assert finding.level is Level.ERROR
    assert "they do not start (" in finding.found
    assert finding.cure == "run python -m workers.check"


class _Healthy(BaseHTTPRequestHandler):
    """As Flower's `/healthcheck`."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/healthcheck" else 404)
        self.end_headers()
        self.wfile.write(b"OK")

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def flower() -> Iterator[int]:
    with HTTPServer(("127.0.0.1", 0), _Healthy) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def port(number: object, address: str = "") -> Finding:
    (finding,) = check_ports({"FLOWER_PORT": str(number), "FLOWER_ADDRESS": address})
    return finding


def test_the_port_of_flower(flower: int) -> None:
    number = free_port()
    assert (port(number).level, port(number).found) == (Level.OK, "is free for Flower")
    assert (port(flower).level, port(flower).found) == (Level.OK, "Flower answers")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        finding = port(taken.getsockname()[1])
        assert finding.level is Level.WARNING
        assert finding.found.startswith("is taken, and not by Flower")
        assert finding.cure == "set FLOWER_PORT to another, or stop what listens there"
    for wrong in ("web", "0", "65536", "²"):
        finding = port(wrong)
        assert (finding.level, finding.cure) == (Level.ERROR, "set it to 1 … 65535")
    # 192.0.2.0/24 is for documentation (RFC 5737): no host has it.
    finding = port(number, "192.0.2.1")
    assert (finding.level, finding.cure) == (Level.WARNING, "set FLOWER_ADDRESS to an address of this host")
