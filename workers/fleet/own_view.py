"""What one worker knows of a service by itself: what it counts for the fleet, and decides by while Redis is away."""

from gateway.policy import Policy
from workers.fleet.phase_listener import PhaseListener
from workers.observation import Stream
from workers.resilience.adaptive import Adaptive
from workers.resilience.breaker import Breaker, Permit
from workers.resilience.budget import Budget
from workers.resilience.health import Health
from workers.resilience.limit import Penalty, RateLimit
from workers.verdict import Ask, Go, Wait, Why

__all__ = ["OwnView"]


class OwnView:
    """Of one service.

    Args:
        service: its name.
        policy: of the service.
        stream: is told what its breaker does.

    Attributes:
        breaker: counts failures.
        penalty: what the service's own limit taught.
        adaptive: finds the right concurrency; None where the policy wants a fixed one.
        in_flight: attempts of this worker.
    """

    def __init__(self, service: str, policy: Policy, stream: Stream) -> None:
        self.service = service
        self.policy = policy
        self.breaker = Breaker(service, policy.breaker, [PhaseListener(stream)])
        self.penalty = Penalty()
        self.adaptive = Adaptive(policy.limit) if policy.limit.adaptive else None
        self.in_flight = 0
        self._rate = RateLimit(policy.limit)
        self._budget = Budget(policy.retry)

    def decide(self, ask: Ask, now: float) -> Go | Wait:
        """May an attempt be sent, as far as this worker can tell? The rules, and their order, are `admit.lua`'s.

        Args:
            ask: the attempt.
            now: Unix time in seconds.
        """
        permit = self.breaker.permit(now)
        if isinstance(permit, float):
            return Wait(ask.token, ask.number, "breaker", None if permit == float("inf") else permit)
        verdict = self._limits(ask, permit, now)
        if isinstance(verdict, Wait):
            self.breaker.record(now, Health.NEUTRAL, elapsed_s=0.0, permit=permit)
        return verdict

    def _limits(self, ask: Ask, permit: Permit, now: float) -> Go | Wait:
        def wait(why: Why, estimate_s: float | None, due_s: float | None = None) -> Wait:
            return Wait(ask.token, ask.number, why, estimate_s, due_s)

        if ask.hedge and permit.probe:
            return wait("breaker", None)
        if self.penalty.blocked_until > now:
            return wait("limit", self.penalty.blocked_until - now)
        if self.in_flight >= self.policy.limit.concurrency:
            return wait("concurrency", None)
        wait_s = self._rate.wait_s(now)
        if wait_s > ask.patience_s:
            return wait("limit", wait_s)
        if ask.number > 1:
            promised = self._budget.withdraw(now, 0.0 if ask.hedge else ask.left_s)
            if promised is None:
                return wait("budget", None)
            if promised > ask.patience_s:
                return wait("budget", promised, promised)
            wait_s = max(wait_s, promised)
        else:
            self._budget.deposit(now)
        self._rate.take(now, ask.patience_s)
        return Go(ask.token, ask.number, wait_s, permit, self.in_flight + 1)

    def __repr__(self) -> str:
        return f"<OwnView {self.service} {self.breaker.phase} {self.in_flight} in flight>"
