"""The circuit breaker of a service."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from math import inf
from typing import Literal, NoReturn, TypeAlias, cast

import pybreaker

from gateway import policy
from workers.resilience.health import Health
from workers.resilience.window import Window

__all__ = ["BadAttemptError", "Breaker", "Permit", "Phase"]

Phase: TypeAlias = Literal["closed", "open", "half-open"]


@dataclass(frozen=True, slots=True)
class Permit:
    """An attempt may be made. Whoever gets one hands it back with `Breaker.record`, on a cancellation too.

    Attributes:
        probe: it tries out whether the service is well again.
        ticket: the place of a probe; 0 when another breaker, the fleet's, gave it.
    """

    probe: bool
    ticket: int = 0


class BadAttemptError(Exception):
    """What pybreaker's listeners are told about an attempt that counts as a failure."""


class Breaker:
    """pybreaker's states, counters and listeners, with what they lack.

    pybreaker counts failures in a row, and probes that succeed; it is told outcomes when they are known, so its lock is
    never held over an attempt, and `before_call` of a listener comes with the outcome. Added are shares over a window,
    a bound on probes, attempts that say nothing (`NEUTRAL`), and a clock that is a parameter: pybreaker's own decides
    nothing here. All of it belongs to one thread.

    Args:
        service: its name.
        policy: its rules.
        listeners: pybreaker's; told about changes and outcomes.
        probe_life_s: seconds after which the place of a probe that nobody reported is given back.
    """

    def __init__(
        self,
        service: str,
        policy: policy.Breaker,
        listeners: Sequence[pybreaker.CircuitBreakerListener] = (),
        *,
        probe_life_s: float = 60.0,
    ) -> None:
        self._policy = policy
        self._probe_life_s = probe_life_s
        self._window = Window(policy)
        self._counters = pybreaker.CircuitMemoryStorage(pybreaker.STATE_CLOSED)
        self._circuit = pybreaker.CircuitBreaker(
            fail_max=policy.fail_max,
            reset_timeout=policy.reset_timeout,
            success_threshold=policy.success_threshold,
            listeners=listeners,
            state_storage=self._counters,
            name=service,
        )
        #: Whether a listener wants to hear of attempts. If none does, a success after none that failed changes nothing.
        self._tells = any(_hears_attempts(listener) for listener in listeners)
        self._until = 0.0
        self._reason = ""
        self._tickets = count(1)
        #: When the probes that are under way were permitted, by ticket.
        self._probes: dict[int, float] = {}

    @property
    def phase(self) -> Phase:
        """The state that it is in. An open one stays open until somebody asks for a permit."""
        return cast("Phase", self._circuit.current_state)

    @property
    def until(self) -> float:
        """When an open one lets probes through; `inf`: it was opened by hand; 0: it is not open."""
        return self._until

    def permit(self, now: float) -> Permit | float:
        """Leave to make an attempt, or the seconds after which to ask again.

        They are `inf` while it is open by hand, and in the half-open phase the time until the oldest probe counts as
        dead; it may change earlier.
        """
        if self.phase == "open" and now >= self._until:
            self.half_open()
        match self.phase:
            case "closed":
                return Permit(probe=False)
            case "open":
                return self._until - now
            case "half-open":
                return self._probe(now)

    def record(self, now: float, health: Health, *, elapsed_s: float, permit: Permit) -> str | None:
        """Take note of how a permitted attempt ended.

        What was under way when the phase changed says nothing about the new one, and a probe whose place was given
        back has lost its say; neither counts.

        Returns:
            Why it opened the breaker, one line for operators; None if it did not.
        """
        if not self._policy.enabled or self.phase == "open":
            return None
        if self.phase == "closed":
            return self._judge(now, health, elapsed_s)
        return self._judge_probe(now, health, permit)

    def expire_probes(self, now: float) -> None:
        """Give the places of probes back that have not been reported within their life."""
        for ticket, permitted_at in list(self._probes.items()):
            if now - permitted_at >= self._probe_life_s:
                del self._probes[ticket]

    def follow(self, phase: Phase, until: float) -> None:
        """Take over what the fleet has agreed on. Nothing is counted, and listeners hear of changes only."""
        if phase != self.phase:
            self._move(phase, until)
        elif phase == "open":
            self._until = until

    def open(self) -> None:
        """Open it by hand, until `close` or `half_open`. Not if the policy has switched the breaker off."""
        self._move("open", inf)

    def half_open(self) -> None:
        """Begin a new round of probes."""
        self._move("half-open")

    def close(self) -> None:
        """Close it, with all counts forgotten."""
        self._move("closed")

    def _judge(self, now: float, health: Health, elapsed_s: float) -> str | None:
        if health is Health.NEUTRAL:
            return None
        failed = health is Health.BAD
        slow = self._policy.slow_call is not None and elapsed_s >= self._policy.slow_call
        self._window.record(now, failed=failed, slow=slow)
        self._count(health)
        if self.phase == "open":
            return self._opened(now, f"{self._policy.fail_max} calls in a row failed")
        # A call that was well is no reason to open, even if it is the one that makes the share count.
        reason = self._window.reason(now) if failed or slow else None
        return None if reason is None else self._opened(now, reason)

    def _judge_probe(self, now: float, health: Health, permit: Permit) -> str | None:
        if not permit.probe or (permit.ticket and self._probes.pop(permit.ticket, None) is None):
            return None
        if health is not Health.NEUTRAL:
            self._count(health)
        return self._opened(now, "a probe failed") if self.phase == "open" else None

    def _count(self, health: Health) -> None:
        """Let pybreaker count, which may change its state."""
        if health is Health.GOOD:
            if self._tells or self._counters.counter or self.phase != "closed":
                self._circuit.call(_succeed)
            return
        # What it raises is for those who let it make the call.
        with suppress(BadAttemptError, pybreaker.CircuitBreakerError):
            self._circuit.call(_fail, self._circuit.name)

    def _opened(self, now: float, reason: str) -> str:
        self._move("open", now + self._policy.reset_timeout)
        self._reason = reason
        return reason

    def _move(self, phase: Phase, until: float = 0.0) -> None:
        if not self._policy.enabled:
            return
        if phase != self.phase:
            {"closed": self._circuit.close, "open": self._circuit.open, "half-open": self._circuit.half_open}[phase]()
        self._until = until
        self._reason = ""
        self._probes.clear()
        self._window.reset()
        self._counters.reset_counter()
        self._counters.reset_success_counter()

    def _probe(self, now: float) -> Permit | float:
        self.expire_probes(now)
        if len(self._probes) + self._circuit.success_counter >= self._policy.probe_count:
            return min(self._probes.values()) + self._probe_life_s - now
        ticket = next(self._tickets)
        self._probes[ticket] = now
        return Permit(probe=True, ticket=ticket)

    def __repr__(self) -> str:
        return f"<Breaker {self._circuit.name} {self._story()}>"

    def _story(self) -> str:
        if not self._policy.enabled:
            return "off"
        match self.phase:
            case "closed":
                return f"closed, {self._circuit.fail_counter} of {self._policy.fail_max} failures in a row"
            case "open":
                until = "by hand" if self._until == inf else f"until {self._until:.3f}"
                return f"open {until}, {self._reason}" if self._reason else f"open {until}"
            case "half-open":
                return (
                    f"half-open, {len(self._probes)} of {self._policy.probe_count} probes under way,"
                    f" {self._circuit.success_counter} of {self._policy.success_threshold} succeeded"
                )


def _hears_attempts(listener: pybreaker.CircuitBreakerListener) -> bool:
    kind, base = type(listener), pybreaker.CircuitBreakerListener
    return kind.success is not base.success or kind.before_call is not base.before_call


def _succeed() -> None:
    pass


def _fail(service: str) -> NoReturn:
    raise BadAttemptError(f"an attempt to call {service} failed")
