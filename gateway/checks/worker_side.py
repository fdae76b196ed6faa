"""What workers need beside the network: secrets, certificates, interceptors, gRPC descriptors.

Only their code can tell, and producers do not load it: it looks in a process of its own, see `workers.check`.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from importlib.util import find_spec

from gateway.checks.finding import Finding, Level

__all__ = ["check_worker_side"]

_WHAT = "workers"
#: Seconds: every set of protos is compiled by a protoc of its own.
_PATIENCE_S = 30.0


def check_worker_side(environ: Mapping[str, str]) -> Iterator[Finding]:
    """Every secret can be read, every interceptor be loaded, and all protos compile."""
    # Not asked for by name: what is looked for is a package beside this one, and what its extra brings.
    missing = [name for name in ("workers", "httpx", "aiohttp", "grpc") if find_spec(name) is None]
    if missing:
        yield Finding(
            level=Level.WARNING,
            what=_WHAT,
            found=f"{', '.join(missing)} is not installed here: secrets and protos were not looked at",
            cure="run gateway doctor where workers run, or pip install 'call-gateway[worker]'",
        )
        return
    try:
        done = subprocess.run(
            [sys.executable, "-m", "workers.check"],
            env={**environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            capture_output=True,
            text=True,
            timeout=_PATIENCE_S,
            check=False,
        )
        said = json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        yield Finding(
            level=Level.ERROR,
            what=_WHAT,
            found=f"loading what the catalogue names took more than {_PATIENCE_S:g} s",
            cure="see its interceptors and its protos",
        )
        return
    except ValueError:
        last = " ".join((done.stderr.strip().splitlines() or ["it said nothing"])[-1].split())
        yield Finding(
            level=Level.ERROR, what=_WHAT, found=f"they do not start ({last})", cure="run python -m workers.check"
        )
        return
    yield from (Finding(level=Level.ERROR, what=what, found=problem) for what, problem in said)
    if not said:
        yield Finding(level=Level.OK, what=_WHAT, found="secrets, certificates, interceptors and protos are there")
