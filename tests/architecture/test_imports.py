"""A producer's import stays light."""

import json
import subprocess
import sys


def test_importing_the_gateway_loads_no_http_client_and_no_grpc() -> None:
    use = "[getattr(gateway, name) for name in gateway.__all__]"
    script = f"import json, sys, gateway; {use}; print(json.dumps(sorted(sys.modules)))"
    loaded = json.loads(
        subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout
    )
    heavy = ("httpx", "grpc", "aiohttp", "google", "starlette", "tornado", "workers")
    assert "gateway.client" in loaded
    assert "celery" in loaded
    assert [name for name in loaded if name.split(".")[0] in heavy] == []


def test_a_service_that_takes_the_middleware_alone_loads_no_celery() -> None:
    script = (
        "import json, sys, gateway.server; gateway.server.ServiceAuthMiddleware; print(json.dumps(sorted(sys.modules)))"
    )
    loaded = json.loads(
        subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout
    )
    assert "gateway.server.asgi" in loaded
    assert {"celery", "redis", "grpc"} & set(loaded) == set()
