"""The service's name, which does not resolve any more."""

import os
import shutil
import time

import pytest

from gateway.errors import ServiceError, ServiceTimeoutError, ServiceUnavailableError
from tests.faults.fleet import eventually
from tests.faults.matrix.fault import fault
from tests.faults.matrix.fresh_workers import replace_workers
from tests.faults.matrix.scene import Scene
from tests.servers.name_server import Mood, NameServer

#: aiohttp remembers an address for 10 s.
_REMEMBERED_S = 11.0
_AWAY_S = 8.0


@fault("upstream's name unknown (NXDOMAIN)", errors=(ServiceUnavailableError,), attempts=1)
def unknown_name(scene: Scene) -> None:
    _forget(scene, "nxdomain", ServiceUnavailableError)


@fault("name server fails (SERVFAIL)", brokers=("redis",), errors=(ServiceUnavailableError,), attempts=1)
def name_server_fails(scene: Scene) -> None:
    _forget(scene, "servfail", ServiceUnavailableError)


@fault("name server silent", brokers=("redis",), errors=(ServiceTimeoutError, ServiceUnavailableError), attempts=1)
def name_server_silent(scene: Scene) -> None:
    _forget(scene, "silent", ServiceTimeoutError)


def _forget(scene: Scene, mood: Mood, error: type[ServiceError]) -> None:
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("workers cannot have a name server of their own here: that takes root, and `unshare`")
    names = scene.until_end.enter_context(NameServer())
    conf = names.write_conf(scene.fleet.folder / "resolv.conf")
    url = f"http://ledger.example:{scene.ledger.port}"
    replace_workers(scene, {"LEDGER_URL": url, "RESOLV_CONF": str(conf)}, app="tests.servers.own_names_app")
    eventually(lambda: names.asked > 0, timeout=30, what="that a worker asks for the name")
    names.mood = mood
    time.sleep(_REMEMBERED_S)
    # Connections that are open need no name: the service closes them, while nothing runs.
    scene.traffic.pause()
    eventually(lambda: scene.traffic.open() == 0, timeout=30, what="that all calls end")
    scene.ledger.restart()
    began = time.monotonic()
    scene.traffic.resume()
    time.sleep(_AWAY_S)
    names.mood = "answers"
    scene.over()
    assert names.failed, "nobody asked for the name while it was forgotten"
    ends = [call for call in list(scene.traffic.made) if began < call.submitted < scene.over_at - 4.0]
    eventually(lambda: all(call.ended for call in ends), timeout=30, what="that the calls end")
    assert any(isinstance(call.error, error) for call in ends), f"no call ended as {error.__name__}"
