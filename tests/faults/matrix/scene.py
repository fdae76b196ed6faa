"""Where a fault happens: a fleet, the service with its ledger, and producers that go on meanwhile."""

import time
from contextlib import ExitStack
from pathlib import Path

from gateway import RestCall
from gateway.dev.rabbitmq import RabbitMQ
from gateway.errors import ServiceError
from tests.faults.fleet import BrokerKind, Fleet, eventually
from tests.faults.links import Links
from tests.faults.matrix.fault import Fault
from tests.faults.matrix.made import KINDS
from tests.faults.matrix.traffic import MARGIN_S, Traffic
from tests.faults.matrix.verdict import Row, judge
from tests.servers.conduct import Conduct
from tests.servers.ledger import Ledger

__all__ = ["CATALOGUE", "Scene", "perform"]

#: Nothing but the fault may end a call: no breaker, ample budgets.
CATALOGUE = """
[services.ledger]
rest.url = "${LEDGER_URL}"
network = { allow = ["loopback"] }
timeouts = { total = 20.0, attempt = 10.0 }
retry = { attempts = 3, backoff = 0.05, max_backoff = 0.2, budget = 1.0, budget_per_s = 1000.0 }
breaker = { enabled = false }
limit = { concurrency = 2000 }
"""
#: How long the service takes to answer, so that some calls are on the wire at every moment.
_ANSWER_S = 0.05
#: Calls flow well for so long before a fault, and so long after the first reply that follows it.
_BEFORE_S, _AFTER_S = 0.5, 0.5


class Scene:
    """Everything that a fault can be inflicted on.

    Args:
        fault: says what is needed.
        kind: the broker.
        folder: takes everything.
        rabbitmq: one that may be shared.

    Attributes:
        fleet: workers, broker and store.
        ledger: the service.
        traffic: the producers.
        over_at: when the fault was over, on the monotonic clock; 0: it is not.
        until_end: takes what a fault needs until all calls have ended, and closes it then.
    """

    def __init__(self, fault: Fault, kind: BrokerKind, folder: Path, rabbitmq: RabbitMQ | None) -> None:
        self.fault = fault
        self.kind = kind
        self.over_at = 0.0
        self.until_end = ExitStack()
        self.ledger = Ledger(folder)
        self.ledger.behave("/", Conduct(well_s=_ANSWER_S, first=0))
        self.ledger.behave("/traffic", Conduct(well_s=_ANSWER_S, first=0))
        try:
            self.fleet = Fleet(
                folder,
                CATALOGUE + fault.catalogue,
                {"LEDGER_URL": self.ledger.url, **fault.environment},
                workers=fault.workers,
                concurrency=fault.concurrency,
                apart=fault.apart,
                kind=kind,
                rabbitmq=None if fault.own_broker else rabbitmq,
                linked=fault.linked,
                append_only=fault.append_only,
                app=fault.app,
            )
        except BaseException:
            self.ledger.stop()
            raise
        self.gateway = self.fleet.gateway
        self.traffic = Traffic(self.gateway, rate=fault.rate, deadline_s=fault.deadline_s, seed=1)

    @property
    def links(self) -> Links:
        """The proxies; the fault must be declared as `linked`."""
        assert self.fleet.links is not None, f"{self.fault.name!r} is not declared as linked"
        return self.fleet.links

    def slow(self, answer_s: float) -> None:
        """From now on the service takes so long to answer."""
        self.ledger.behave("/traffic", Conduct(well_s=answer_s, first=0))

    def arrived(self, path: str) -> int:
        """How many requests for a path there were."""
        return sum(entry.path == path for entry in self.ledger.entries(path))

    def all_taken(self, *, timeout: float = 30.0) -> None:
        """Wait until no message waits in the queue: workers have them all."""
        eventually(lambda: self.fleet.waiting("ledger") == 0, timeout=timeout, what="that all messages are taken")

    def give_away_unheard(self) -> None:
        """Have the broker give messages to workers that do not hear of it; its answers are held from then on."""
        link = self.links.worker_broker
        # RabbitMQ sends what there is. A worker on Redis asks: it learns that there is something, and is heard later.
        is_asked = self.kind == "redis"
        link.hold(up=is_asked, down=not is_asked)
        for number in range(5):
            for kind in KINDS:
                self.traffic.call(kind, f"/traffic/claimed-{kind}-{number}")
        self.traffic.pause()
        if is_asked:
            waiting = self.fleet.waiting("ledger")
            assert waiting, "nobody asks, so nothing is taken"
            time.sleep(0.5)
            link.hear()
            eventually(lambda: self.fleet.waiting("ledger") < waiting, timeout=15, what="that messages are given away")
        else:
            # It counts what is unacknowledged every few seconds only.
            eventually(lambda: not self.fleet.waiting("ledger"), timeout=30, what="that all messages are given away")

    def unacknowledged(self) -> int:
        """How many messages workers have, or had when they died, and have not acknowledged."""
        return self.fleet.unacknowledged_count()

    def over(self) -> None:
        """The fault ends now; otherwise it ends when its function returns."""
        self.over_at = time.monotonic()

    def play(self) -> None:
        """Let calls flow, inflict the fault, wait for the recovery, and for every outcome."""
        self.traffic.start()
        began = time.monotonic()
        eventually(lambda: self.traffic.replies() > 3, timeout=30, what="that calls flow")
        time.sleep(max(0.0, began + _BEFORE_S - time.monotonic()))
        self.fault.inflict(self)
        if not self.over_at:
            self.over()
        ends = time.monotonic() + self.fault.recovers_s + 5.0
        while not self.traffic.replies(since=self.over_at) and time.monotonic() < ends:
            time.sleep(0.02)
        time.sleep(_AFTER_S)
        self.traffic.finish(self.fault.deadline_s + MARGIN_S + self.fault.submit_s + 30.0)

    def fresh_call(self, timeout: float = 10.0) -> bool:
        """Whether a call gets its reply now."""
        try:
            call = RestCall("ledger", "GET", "/fresh/{number}", path={"number": "1"})
            return self.gateway.submit(call, deadline=timeout).result().status == 200
        except ServiceError:
            return False

    def close(self) -> None:
        """Stop everything."""
        with self.until_end:
            self.traffic.close()
            self.fleet.close()
            self.ledger.stop()


def perform(fault: Fault, kind: BrokerKind, folder: Path, rabbitmq: RabbitMQ | None) -> Row:
    """Inflict a fault on a scene of its own, and judge."""
    began = time.monotonic()
    scene = Scene(fault, kind, folder, rabbitmq)
    try:
        scene.play()
        made, arrived = list(scene.traffic.made), scene.ledger.by_path()
        took_s = time.monotonic() - began
        return judge(fault, kind, made, arrived, over_at=scene.over_at, took_s=took_s)
    finally:
        scene.close()
