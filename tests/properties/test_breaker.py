"""Every phase × every event, against a model of the breaker that is as plain as can be."""

from itertools import pairwise

import pybreaker
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gateway import policy
from workers.resilience.breaker import Breaker, Permit
from workers.resilience.health import Health

LIFE_S = 20.0
RESET_S = 30.0
INF = float("inf")
healths = st.sampled_from(Health)


class Changes(pybreaker.CircuitBreakerListener):
    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []

    def state_change(self, cb: object, old_state: object, new_state: object) -> None:
        self.seen.append((getattr(old_state, "name", ""), getattr(new_state, "name", "")))


class Machine(RuleBasedStateMachine):
    @initialize(fail_max=st.integers(1, 3), threshold=st.integers(1, 3), spare=st.integers(0, 2))
    def begin(self, fail_max: int, threshold: int, spare: int) -> None:
        self.changes = Changes()
        self.policy = policy.Breaker(
            fail_max=fail_max,
            reset_timeout=RESET_S,
            success_threshold=threshold,
            probes=threshold + spare,
            failure_rate=None,
        )
        self.breaker = Breaker("users", self.policy, (self.changes,), probe_life_s=LIFE_S)
        self.now = 1000.0
        self.phase, self.until = "closed", 0.0
        self.failures = self.successes = 0
        #: Permits that are out and have a place, with their time; and those that have none any more.
        self.out: dict[Permit, float] = {}
        self.stale: list[Permit] = []

    def go(self, phase: str, until: float = 0.0) -> None:
        self.phase, self.until = phase, until
        self.failures = self.successes = 0
        self.stale += self.out
        self.out = {}

    def expire(self) -> None:
        dead = [permit for permit, at in self.out.items() if self.now - at >= LIFE_S]
        for permit in dead:
            del self.out[permit]
        self.stale += dead

    @rule(seconds=st.sampled_from([0.0, 0.5, 1.0, 9.5, 10.0, 20.0, 29.5, 30.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def somebody_asks(self) -> None:
        permit = self.breaker.permit(self.now)
        if self.phase == "open" and self.now >= self.until:
            self.go("half-open")
        if self.phase == "closed":
            assert permit == Permit(probe=False)
        elif self.phase == "open":
            assert permit == self.until - self.now
            assert permit > 0
        else:
            self.expire()
            if len(self.out) + self.successes < self.policy.probe_count:
                assert isinstance(permit, Permit)
                assert permit.probe
                assert permit not in self.out
                assert permit not in self.stale
                self.out[permit] = self.now
            else:
                assert permit == min(self.out.values()) + LIFE_S - self.now
                assert 0 < permit <= LIFE_S

    @rule(health=healths, permit=st.sampled_from([Permit(probe=False), Permit(probe=True)]))
    def an_attempt_ends(self, health: Health, permit: Permit) -> None:
        reason = self.breaker.record(self.now, health, elapsed_s=0.1, permit=permit)
        if self.phase == "half-open" and permit.probe:
            self.judge_probe(health, reason)
        elif self.phase == "closed":
            self.judge(health, reason)
        else:
            assert reason is None

    @precondition(lambda self: self.out)
    @rule(data=st.data(), health=healths)
    def a_probe_ends(self, data: st.DataObject, health: Health) -> None:
        permit = data.draw(st.sampled_from(list(self.out)))
        del self.out[permit]
        self.judge_probe(health, self.breaker.record(self.now, health, elapsed_s=0.1, permit=permit))

    @precondition(lambda self: self.stale)
    @rule(data=st.data(), health=healths)
    def a_late_probe_ends(self, data: st.DataObject, health: Health) -> None:
        permit = data.draw(st.sampled_from(self.stale))
        self.stale.remove(permit)
        reason = self.breaker.record(self.now, health, elapsed_s=0.1, permit=permit)
        if self.phase == "closed":
            self.judge(health, reason)
        else:
            assert reason is None

    def judge(self, health: Health, reason: str | None) -> None:
        if health is not Health.NEUTRAL:
            self.failures = self.failures + 1 if health is Health.BAD else 0
        opened = self.failures >= self.policy.fail_max
        assert (reason is not None) == opened
        if opened:
            self.go("open", self.now + RESET_S)

    def judge_probe(self, health: Health, reason: str | None) -> None:
        assert (reason is not None) == (health is Health.BAD)
        if health is Health.BAD:
            self.go("open", self.now + RESET_S)
        elif health is Health.GOOD:
            self.successes += 1
            if self.successes >= self.policy.success_threshold:
                self.go("closed")

    @rule(phase=st.sampled_from(["closed", "open", "half-open"]), ahead=st.sampled_from([-5.0, 5.0, INF]))
    def the_fleet_says(self, phase: str, ahead: float) -> None:
        until = self.now + ahead if phase == "open" else 0.0
        if phase == "closed":
            self.breaker.follow("closed", until)
        elif phase == "open":
            self.breaker.follow("open", until)
        else:
            self.breaker.follow("half-open", until)
        if phase != self.phase:
            self.go(phase, until)
        elif phase == "open":
            self.until = until

    @rule(by_hand=st.sampled_from(["open", "close", "half-open", "expire"]))
    def an_operator_acts(self, by_hand: str) -> None:
        if by_hand == "open":
            self.breaker.open()
            self.go("open", INF)
        elif by_hand == "close":
            self.breaker.close()
            self.go("closed")
        elif by_hand == "half-open":
            self.breaker.half_open()
            self.go("half-open")
        else:
            self.breaker.expire_probes(self.now)
            self.expire()

    @invariant()
    def it_is_where_the_model_is(self) -> None:
        if not hasattr(self, "breaker"):
            return
        assert (self.breaker.phase, self.breaker.until) == (self.phase, self.until)
        assert len(self.out) <= self.policy.probe_count
        if self.phase == "half-open":
            assert (
                f"{len(self.out)} of {self.policy.probe_count} probes under way,"
                f" {self.successes} of {self.policy.success_threshold} succeeded" in repr(self.breaker)
            )

    @invariant()
    def listeners_hear_of_true_changes_only(self) -> None:
        if not hasattr(self, "changes"):
            return
        seen = self.changes.seen
        assert all(before != after for before, after in seen)
        assert all(first[1] == then[0] for first, then in pairwise(seen))
        assert (seen[-1][1] if seen else "closed") == self.phase


TestBreaker = Machine.TestCase
TestBreaker.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
