"""The service that is called: killed, silent, out of reach, and stopped as gRPC servers stop."""

import threading
import time

from gateway.errors import ServiceTimeoutError, ServiceUnavailableError
from tests.faults.conftest import PROTOS
from tests.faults.fleet import eventually
from tests.faults.matrix.fault import fault
from tests.faults.matrix.fresh_workers import replace_workers
from tests.faults.matrix.made import KINDS
from tests.faults.matrix.scene import Scene
from tests.faults.packet_drop import PacketDrop
from tests.servers.conduct import Conduct
from tests.servers.proxy import Proxy
from tests.servers.rpc_ledger import RpcLedger

#: Nothing listens at its first address; the workers that call it are started later.
_RPC = """
[services.rpc]
grpc = { target = "${RPC_TARGET}", protos = ["counting.proto"], include = ["${PROTOS}"] }
timeouts = { total = 30.0, attempt = 15.0 }
retry = { attempts = 30, backoff = 0.2, max_backoff = 0.5, budget = 1.0, budget_per_s = 1000.0 }
breaker = { enabled = false }
"""
_RPC_ENVIRONMENT = {"RPC_TARGET": "127.0.0.1:1", "PROTOS": str(PROTOS)}


@fault("upstream kill -9 and back after 3 s", unknown=True, errors=(ServiceUnavailableError,), attempts=2)
def killed(scene: Scene) -> None:
    scene.slow(1.0)
    eventually(lambda: scene.traffic.open() > 20, timeout=15, what="that calls run")
    scene.ledger.process.kill()
    time.sleep(3.0)
    scene.ledger.restart()
    scene.ledger.behave("/traffic", Conduct(well_s=0.05, first=0))


@fault("half-open link to the upstream", unknown=True, attempts=2)
def half_open(scene: Scene) -> None:
    link = scene.until_end.enter_context(Proxy(scene.ledger.port))
    replace_workers(scene, {"LEDGER_URL": f"http://127.0.0.1:{link.port}"})
    scene.slow(1.0)
    eventually(lambda: scene.traffic.open() > 20, timeout=15, what="that calls run")
    # Nothing comes through any more, and nobody is told; connections that are made anew are well.
    link.swallow()
    scene.slow(0.05)


@fault("packets to the upstream dropped for 8 s", unknown=True, errors=(ServiceTimeoutError,), attempts=2)
def unreachable(scene: Scene) -> None:
    scene.slow(1.0)
    eventually(lambda: scene.traffic.open() > 20, timeout=15, what="that calls run")
    with PacketDrop(scene.ledger.port):
        time.sleep(8.0)
    scene.slow(0.05)


@fault("gRPC upstream restarts, with time for its calls", catalogue=_RPC, environment=_RPC_ENVIRONMENT, attempts=1)
def goaway_kind(scene: Scene) -> None:
    """It sends GOAWAY and answers what runs: nothing needs to be repeated, and nothing may be."""
    _restart_rpc(scene, answer_s=1.0, grace_s=10.0)


@fault(
    "gRPC upstream restarts, and drops its calls",
    catalogue=_RPC,
    environment=_RPC_ENVIRONMENT,
    attempts=2,
    # The server says of itself that it cancels them.
    errors=(ServiceUnavailableError,),
    unknown=True,
)
def goaway_rude(scene: Scene) -> None:
    """It sends GOAWAY and cuts off what runs soon after."""
    _restart_rpc(scene, answer_s=4.0, grace_s=0.5)


def _restart_rpc(scene: Scene, *, answer_s: float, grace_s: float) -> None:
    rpc = RpcLedger(scene.ledger.file.parent, scene.ledger.file, answer_s=answer_s, grace_s=grace_s)
    scene.until_end.callback(rpc.stop)
    replace_workers(scene, {"RPC_TARGET": rpc.target})
    running = [
        scene.traffic.call(kind, f"/rpc/cut/{kind}-{number}", service="rpc") for kind in KINDS for number in range(10)
    ]
    eventually(lambda: all(scene.arrived(call.path) for call in running), timeout=15, what="that the calls are sent")
    restart = threading.Thread(target=rpc.restart)
    restart.start()
    # Some of these come while it stops, some while nothing listens, some when the next one does.
    number = 0
    while restart.is_alive():
        for kind in KINDS:
            scene.traffic.call(kind, f"/rpc/meanwhile/{kind}-{number}", service="rpc")
        number += 1
        restart.join(0.1)
    assert rpc.process.exit_code is None, "the service did not start again"
