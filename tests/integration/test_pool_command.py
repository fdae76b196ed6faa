"""`gateway worker` says what is missing before it starts anything."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize("missing", ["httpx", "aiohttp", "grpc"])
def test_an_installation_without_the_worker_extra(missing: str) -> None:
    script = f"import sys; sys.modules[{missing!r}] = None; from gateway.cli import main; main(['worker'])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30)
    assert done.returncode == 1
    assert f"a worker needs {missing}" in done.stderr
    assert "pip install 'call-gateway[worker]'" in done.stderr
    assert "Traceback" not in done.stderr
