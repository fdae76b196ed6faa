"""Calls at full speed while workers are killed at random and the links to the broker are reset."""

import random
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from gateway import Gateway, Settings
from gateway.dev.rabbitmq import RabbitMQ
from tests.faults.fleet import BrokerKind, Fleet
from tests.faults.links import port_of, through
from tests.faults.matrix.fault import Fault
from tests.faults.matrix.scene import CATALOGUE
from tests.faults.matrix.traffic import MARGIN_S, Traffic
from tests.faults.matrix.verdict import Row, judge
from tests.servers.conduct import Conduct
from tests.servers.ledger import Ledger
from tests.servers.relay import Relay

__all__ = ["soak"]

_KILL_EVERY_S = 5.0
_RESET_EVERY_S = 10.0
_SHOW_EVERY_S = 5.0
_ANSWER_S = 0.02
_WORKERS = 3
_DEADLINE_S = 120.0
_BATCH = 50
#: Calls without an outcome at one moment: enough that every worker is full when it is killed.
_MOST = 2000


def soak(
    kind: BrokerKind,
    folder: Path,
    *,
    calls: int,
    seed: int,
    rabbitmq: RabbitMQ | None,
    say: Callable[[str], None],
    kill_every_s: float = _KILL_EVERY_S,
    reset_every_s: float = _RESET_EVERY_S,
) -> Row:
    """Make so many calls, and judge.

    Args:
        kind: the broker.
        folder: takes everything.
        calls: how many are accepted at least; what is refused does not count.
        seed: decides the mix of calls, and which worker is killed when.
        rabbitmq: one that may be shared.
        say: is told how it goes.
        kill_every_s: a worker is killed so often, and another started.
        reset_every_s: every link to the broker is reset so often.
    """
    chance = random.Random(seed)
    began = time.monotonic()
    with ExitStack() as stack:
        ledger = stack.enter_context(Ledger(folder))
        ledger.behave("/traffic", Conduct(well_s=_ANSWER_S, first=0))
        environment = {"LEDGER_URL": ledger.url}
        fleet = stack.enter_context(
            Fleet(folder, CATALOGUE, environment, workers=0, kind=kind, apart=True, rabbitmq=rabbitmq)
        )
        relay = stack.enter_context(Relay(port_of(fleet.broker_url), folder))
        # Workers and producer alike: who submits while the link breaks gets a typed error.
        fleet.environment["GATEWAY_BROKER_URL"] = through(fleet.broker_url, relay.port)
        gateway = stack.enter_context(Gateway(Settings.from_env(fleet.environment), fleet.gateway.catalogue))
        fleet.start(_WORKERS)
        traffic = Traffic(gateway, rate=1e6, deadline_s=_DEADLINE_S, seed=seed, batch=_BATCH, most=_MOST)
        stack.callback(traffic.close)
        kills = resets = 0
        traffic.start()
        started = shown = killed = reset = time.monotonic()
        # What is refused while a link is reset is not asked for; and without a kill and a reset nothing would be shown.
        while traffic.accepted() < calls or not (kills and resets):
            time.sleep(0.05)
            now = time.monotonic()
            if now - killed >= kill_every_s:
                killed, kills = now, kills + 1
                fleet.kill(chance.choice(fleet.workers))
                fleet.launch(1)
            if now - reset >= reset_every_s:
                reset, resets = now, resets + 1
                relay.reset()
            if now - shown >= _SHOW_EVERY_S:
                shown = now
                speed = traffic.ended / (now - started)
                done = f"{traffic.accepted()} of {calls} calls accepted"
                say(f"{kind}: {done}, {speed:.0f}/s, {kills} kills, {resets} resets")
        traffic.stop()
        over_at = time.monotonic()
        took_s = over_at - started
        # Half as many as there was time for: a machine that is busy is late with each.
        assert kills >= took_s / kill_every_s // 2, f"{kills} kills in {took_s:.0f} s"
        assert resets >= took_s / reset_every_s // 2, f"{resets} resets in {took_s:.0f} s"
        traffic.call("GET", "/traffic/fresh")
        traffic.finish(_DEADLINE_S + MARGIN_S + 30.0)
        made, arrived = list(traffic.made), ledger.by_path()
    what = Fault(
        name=f"soak: {calls} calls, {kills} kills, {resets} resets, seed {seed}",
        inflict=lambda scene: None,
        unknown=True,
        refuses=True,
        attempts=8,
        recovers_s=60.0,
        submit_s=30.0,
    )
    return judge(what, kind, made, arrived, over_at=over_at, took_s=time.monotonic() - began)
