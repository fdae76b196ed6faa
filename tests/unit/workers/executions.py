"""Calls in execution, and a fleet that answers as a test says."""

import asyncio
from collections.abc import Sequence

from gateway import RestCall
from gateway.envelope import Envelope
from gateway.outcome import Failure
from gateway.policy import Policy, Retry, Timeouts
from gateway.service import RestEndpoint, Service
from workers.attempt import Answer
from workers.deadline import Deadline
from workers.execution import NO_PROBE, Execution, Progress
from workers.verdict import Go, Late, Verdict

__all__ = ["OK", "ScriptedFleet", "execution"]

OK = Answer(status=200, headers={}, data=None)


class ScriptedFleet:
    """Lets everything through after the given verdicts.

    Args:
        verdicts: what it answers first, in order.
        hedge_after_s: see `workers.execution.Fleet`.
    """

    def __init__(self, verdicts: Sequence[Verdict] = (), *, hedge_after_s: float | None = None) -> None:
        self._verdicts = list(verdicts)
        self._hedge_after_s = hedge_after_s
        self.asked: list[tuple[int, bool]] = []
        self.began_attempts = 0
        self.results: list[Answer | Failure | None] = []
        self.ended_numbers: list[int] = []
        self.waited = 0
        self.room = True

    async def ask(self, execution: Execution) -> Verdict:
        number = execution.progress.attempts + 1
        self.asked.append((number, execution.hedge))
        if self._verdicts:
            return self._verdicts.pop(0)
        if execution.left_s <= 0:
            return Late(1, number, "")
        return Go(1, number, 0.0, NO_PROBE, 1)

    def began(self, execution: Execution) -> None:
        self.began_attempts += 1

    def ended(self, execution: Execution, go: Go, result: Answer | Failure | None, elapsed_s: float) -> None:
        self.results.append(result)
        self.ended_numbers.append(go.number)

    def has_room(self, service: str) -> bool:
        return self.room

    async def freed(self, service: str, timeout_s: float) -> None:
        self.waited += 1
        await asyncio.sleep(timeout_s)

    def hedge_after_s(self, execution: Execution) -> float | None:
        return self._hedge_after_s


def execution(
    *,
    left: float = 60.0,
    total: float = 60.0,
    attempt: float = 60.0,
    policy: Policy | None = None,
    fleet: ScriptedFleet | None = None,
    idempotent: bool = True,
) -> Execution:
    """A GET in execution, on the running loop; without a policy it has one attempt."""
    if policy is None:
        policy = Policy(timeouts=Timeouts(total=total, attempt=min(total, attempt)), retry=Retry(attempts=1))
    service = Service(name="users", policy=policy, rest=RestEndpoint(url="http://users"))

    async def is_idempotent() -> bool:
        return idempotent

    now = asyncio.get_running_loop().time()
    return Execution(
        call_id="c",
        envelope=Envelope(version=1, call=RestCall("users", "GET", "/")),
        service=service,
        policy=policy,
        claims=None,
        deadline=Deadline(now + left),
        correlation_id="order-42",
        request_id="r",
        started=now,
        accepted_at=1000.0,
        worker="host:1",
        fleet=fleet or ScriptedFleet(),
        idempotent=is_idempotent,
        progress=Progress(owner="this one"),
    )
