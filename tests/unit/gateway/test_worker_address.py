"""Where a worker's port is, and what is refused."""

from pathlib import Path

import pytest

from gateway.settings import SettingsError
from gateway.worker_address import DEFAULT_PORT, WorkerAddress

TOKEN = "a-token-that-is-long"


def of(address: str, token: str = "") -> WorkerAddress | None:
    return WorkerAddress.of({"GATEWAY_WORKER_ADDRESS": address, "GATEWAY_METRICS_TOKEN": token})


def test_by_default_it_is_on_the_loopback() -> None:
    assert WorkerAddress.of({}) == WorkerAddress("127.0.0.1", DEFAULT_PORT, is_default=True)


@pytest.mark.parametrize("written", ["off", "OFF", " off "])
def test_off(written: str) -> None:
    assert of(written) is None


@pytest.mark.parametrize(
    ("written", "host", "port"),
    [("127.0.0.1:0", "127.0.0.1", 0), ("localhost:9000", "localhost", 9000), ("[::1]:65535", "::1", 65535)],
)
def test_addresses(written: str, host: str, port: int) -> None:
    assert of(written) == WorkerAddress(host, port, is_default=False)


@pytest.mark.parametrize(
    "written", ["9808", ":9808", "127.0.0.1", "127.0.0.1:", "127.0.0.1:x", "h:65536", "h:-1", "h:٣"]
)
def test_what_is_no_address(written: str) -> None:
    with pytest.raises(SettingsError, match=r"GATEWAY_WORKER_ADDRESS is no address; set it to host:port"):
        of(written, TOKEN)


@pytest.mark.parametrize("written", ["0.0.0.0:9808", "[::]:9808", "10.0.0.1:1", "metrics.internal:1"])
def test_other_hosts_need_a_token(written: str) -> None:
    with pytest.raises(SettingsError, match="set GATEWAY_METRICS_TOKEN"):
        of(written)
    found = of(written, TOKEN)
    assert found is not None
    assert found.token == TOKEN
    assert TOKEN not in repr(found)


def test_the_token_may_be_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "token"
    with pytest.raises(SettingsError, match=r"cannot be read \(FileNotFoundError\)"):
        of("127.0.0.1:0", f"file:{file}")
    file.write_text("\n")
    with pytest.raises(SettingsError, match="its file is empty"):
        of("127.0.0.1:0", f"file:{file}")
    file.write_text(f"{TOKEN}\n")
    found = of("127.0.0.1:0", f"file:{file}")
    assert found is not None
    assert found.token == TOKEN


def test_a_token_that_could_be_guessed() -> None:
    with pytest.raises(SettingsError, match="less than 16 characters"):
        of("127.0.0.1:0", "short")
