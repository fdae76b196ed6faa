"""The scripts that decide for the fleet, on a real server with a clock of our own, held against the Python rules."""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import msgspec
import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway import fleet_keys, policy
from gateway.dev.valkey import Valkey
from workers.fleet.script import Script
from workers.resilience.breaker import Breaker, Permit
from workers.resilience.budget import Budget
from workers.resilience.health import Health
from workers.resilience.limit import Penalty, RateLimit

T0 = 1_700_000_000.0
ADMIT, REPORT, RENEW = Script("admit.lua"), Script("report.lua"), Script("renew.lua")
#: Seconds that six decimals hold exactly, as the scripts write them: at a boundary both sides round alike.
EXACT = st.integers(0, 32).map(lambda step: step / 64)
quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


class Server:
    """The scripts on one database."""

    def __init__(self, url: str) -> None:
        self.client: Any = redis.Redis.from_url(url)
        self.terms: dict[str, Any] = {
            "interval": 0.0,
            "burst": 1,
            "concurrency": 1000,
            "adaptive": False,
            "breaker": True,
            "probes": 2,
            "share": 0.2,
            "per_s": 10.0,
        }

    def fresh(self, **terms: Any) -> "Server":
        self.client.flushdb()
        self.terms |= terms
        return self

    def ask(
        self,
        call_id: str,
        now: float,
        *,
        number: int = 1,
        token: int = 0,
        parks: int = 0,
        left: float = 1000.0,
        patience: float = 0.25,
        hedge: bool = False,
        life: float = 10.0,
        worker: str = "w",
        owner: str | None = None,
        recorded: bool = False,
    ) -> list[Any]:
        request = {
            "now": now,
            "worker": worker,
            "lease_s": 30.0,
            "most_deaths": 3,
            "expires_s": 3600,
            "results": "result-",
            "services": {"s": self.terms},
            "asks": [(call_id, "s", number, token, owner or uuid4().hex, parks, left, patience, hedge, life, recorded)],
        }
        reply = msgspec.json.decode(ADMIT.run_sync(self.client, msgspec.json.encode(request)))
        assert float(reply["now"]) == pytest.approx(now)
        (answer,) = reply["answers"]
        return list(answer)

    def report(
        self,
        now: float,
        *,
        ends: list[Any] | None = None,
        trips: list[Any] | None = None,
        blocks: list[Any] | None = None,
        adaptive: list[Any] | None = None,
    ) -> None:
        request = {
            "now": now,
            "worker": "w",
            "services": {"s": {"reset_s": 30.0, "threshold": 2}},
            "ends": ends or [],
            "trips": trips or [],
            "blocks": blocks or [],
            "adaptive": adaptive or [],
        }
        REPORT.run_sync(self.client, msgspec.json.encode(request))

    def end(self, call_id: str, number: int, now: float, health: str = "good", probe: int = 0) -> None:
        self.report(now, ends=[(call_id, "s", number, 0, health, probe == 1, False, False)])

    def record(self, call_id: str) -> dict[str, str]:
        return {name.decode(): value.decode() for name, value in self.client.hgetall(f"gateway:call:{call_id}").items()}

    def phase(self) -> str:
        phase = self.client.hget(fleet_keys.breaker("s"), "phase")
        return "closed" if phase is None else phase.decode()


@pytest.fixture
def server(valkey: Valkey) -> Iterator[Server]:
    made = Server(valkey.url(9))
    yield made.fresh()
    made.client.flushdb()
    made.client.close()


# -- the rules are those of the Python code ----------------------------------------------------------------------------


@quick
@given(
    steps=st.lists(st.tuples(EXACT, st.sampled_from([0.0, 0.25, 1.0])), min_size=1, max_size=30),
    rate=st.sampled_from(["2/s", "64/s", "240/m"]),
    burst=st.integers(1, 4),
)
def test_the_rate_is_that_of_rate_limit(
    server: Server, steps: list[tuple[float, float]], rate: str, burst: int
) -> None:
    limit = policy.Limit(rate=rate, burst=burst)
    server.fresh(interval=limit.interval_s, burst=burst, breaker=False)
    model, now = RateLimit(limit), T0
    for position, (passed, patience) in enumerate(steps):
        now += passed
        wanted = model.take(now, patience)
        answer = server.ask(f"c{position}", now, patience=patience)
        if wanted is None:
            assert answer[:1] + answer[3:4] == ["hold", "limit"]
            assert float(answer[4]) == pytest.approx(model.wait_s(now), abs=1e-4)
        else:
            assert answer[0] == "go"
            assert float(answer[3]) == pytest.approx(wanted, abs=1e-4)


@quick
@given(
    steps=st.lists(
        st.tuples(EXACT, st.sampled_from(["first", "retry", "hedge"]), st.sampled_from([0.0, 0.3])),
        min_size=1,
        max_size=40,
    ),
    share=st.sampled_from([0.0, 0.25, 1.0]),
    per_s=st.sampled_from([0.0, 1.0, 8.0]),
)
def test_the_budget_is_that_of_budget(
    server: Server, steps: list[tuple[float, str, float]], share: float, per_s: float
) -> None:
    server.fresh(share=share, per_s=per_s, breaker=False)
    model, now = Budget(policy.Retry(budget=share, budget_per_s=per_s)), T0
    for position, (passed, kind, patience) in enumerate(steps):
        now += passed
        number = 1 if kind == "first" else 2
        answer = server.ask(f"c{position}", now, number=number, hedge=kind == "hedge", patience=patience, left=2.0)
        if kind == "first":
            model.deposit(now)
            assert answer[0] == "go"
        elif kind == "hedge":
            assert (answer[0] == "go") == (model.withdraw(now, 0.0) is not None)
        else:
            wait = model.withdraw(now, 2.0)
            if wait is None:
                assert (answer[0], answer[3], float(answer[5])) == ("hold", "budget", -1)
            elif wait > patience:
                assert (answer[0], answer[3]) == ("hold", "budget")
                assert float(answer[5]) == pytest.approx(wait, abs=1e-4)
            else:
                assert answer[0] == "go"
                assert float(answer[3]) == pytest.approx(wait, abs=1e-4)


@quick
@given(
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("wait"), st.floats(0, 20)),
            st.tuples(st.just("ask"), st.just(0.0)),
            st.tuples(st.sampled_from(["good", "bad", "neutral"]), st.integers(0, 5).map(float)),
        ),
        min_size=5,
        max_size=60,
    )
)
def test_the_breaker_is_that_of_breaker(server: Server, steps: list[tuple[str, float]]) -> None:
    server.fresh(probes=2)
    rules = policy.Breaker(fail_max=2, reset_timeout=30.0, success_threshold=2, failure_rate=None)
    model, now, asked = Breaker("s", rules, probe_life_s=10_000.0), T0, 0
    under_way: list[tuple[str, Permit, int]] = []
    for kind, value in steps:
        if kind == "wait":
            now += value
        elif kind == "ask":
            asked += 1
            permit = model.permit(now)
            answer = server.ask(f"c{asked}", now, life=10_000.0)
            assert (answer[0] == "go") == isinstance(permit, Permit)
            if isinstance(permit, Permit):
                assert answer[4] == int(permit.probe)
                under_way.append((f"c{asked}", permit, answer[4]))
            elif model.phase == "open":
                assert float(answer[4]) == pytest.approx(permit, abs=1e-4)
        elif under_way:
            call_id, permit, probe = under_way.pop(int(value) % len(under_way))
            was = model.phase
            reason = model.record(now, Health[kind.upper()], elapsed_s=0.1, permit=permit)
            server.end(call_id, 1, now, kind, probe)
            if reason is not None and was == "closed":
                server.report(now, trips=[("s", reason)])
        assert server.phase() == model.phase


@quick
@given(
    steps=st.lists(
        st.tuples(st.integers(0, 192).map(lambda step: step / 64), st.sampled_from([None, 0.0, 2.0, 999.0, "good"])),
        min_size=1,
        max_size=30,
    ),
)
def test_what_is_learned_from_a_429_is_that_of_penalty(server: Server, steps: list[tuple[float, Any]]) -> None:
    server.fresh()
    model, now = Penalty(), T0
    for passed, said in steps:
        now += passed
        if said == "good":
            model.forgive(now)
            server.end("c", 1, now)
        else:
            model.learn(now, said)
            server.report(now, blocks=[("s", -1.0 if said is None else said)])
        blocked, penalty = server.client.hmget(fleet_keys.limit("s"), "blocked_until", "penalty_s")
        assert float(blocked or 0) == pytest.approx(model.blocked_until, abs=1e-4)
        assert float(penalty or 0) == pytest.approx(model.penalty_s, abs=1e-4)
        answer = server.ask("d", now, parks=1)
        assert (answer[0] == "hold") == (model.blocked_until - now > 1e-5)
        server.client.delete("gateway:call:d")


# -- places ------------------------------------------------------------------------------------------------------------


def test_a_service_gets_no_more_attempts_at_once_than_its_limit(server: Server) -> None:
    server.fresh(concurrency=2)
    assert [server.ask(f"c{number}", T0)[0] for number in range(3)] == ["go", "go", "hold"]
    assert server.ask("c2", T0, number=1, token=1)[3] == "concurrency"
    server.end("c0", 1, T0)
    assert server.ask("c3", T0)[0] == "go"
    # A worker that died gives its places back when its attempts have lasted longer than they can.
    assert server.ask("c4", T0 + 9)[0] == "hold"
    assert server.ask("c5", T0 + 10)[0] == "go"


def test_the_adaptive_limit_is_taken_from_whoever_comes_first_in_a_second(server: Server) -> None:
    server.fresh(concurrency=10, adaptive=True)
    server.report(T0, adaptive=[("s", 2.0)])
    server.report(T0 + 0.5, adaptive=[("s", 9.0)])
    assert [server.ask(f"c{number}", T0 + 0.6)[0] for number in range(3)] == ["go", "go", "hold"]
    server.report(T0 + 1.1, adaptive=[("s", 3.0)])
    assert server.ask("c4", T0 + 1.2)[0] == "go"


def test_who_came_first_goes_first(server: Server) -> None:
    server.fresh(interval=0.1)
    server.client.zadd(fleet_keys.parked("s"), {"older": T0 - 1})
    answer = server.ask("new", T0)
    assert (answer[0], answer[3]) == ("hold", "limit")
    assert float(answer[4]) == pytest.approx(0.1)
    assert server.ask("older", T0, parks=1)[0] == "go"


def test_a_dead_probe_gives_its_place_back(server: Server) -> None:
    server.fresh(probes=1)
    server.report(T0, trips=[("s", "five in a row")])
    assert server.ask("c1", T0 + 29)[0] == "hold"
    assert server.ask("c2", T0 + 31)[4] == 1
    assert server.ask("c3", T0 + 32)[0] == "hold"
    assert server.ask("c4", T0 + 42)[4] == 1


def test_a_breaker_that_was_opened_by_hand_stays_open(server: Server) -> None:
    server.client.hset(fleet_keys.breaker("s"), mapping={"phase": "open", "until": "inf", "epoch": 1})
    answer = server.ask("c", T0 + 1e6)
    assert (answer[0], answer[3], float(answer[4])) == ("hold", "breaker", -1)
    # Nor does a worker that finds it failing make it anything else.
    server.report(T0, trips=[("s", "five in a row")])
    assert server.client.hget(fleet_keys.breaker("s"), "until") == b"inf"


# -- the lease ---------------------------------------------------------------------------------------------------------


def test_one_worker_has_a_call_at_a_time(server: Server) -> None:
    answer = server.ask("c", T0, worker="one")
    assert answer[:3] == ["go", 1, 1]
    assert server.record("c")["worker"] == "one"
    assert server.ask("c", T0 + 1, worker="two") == ["elsewhere", pytest.approx(29)]
    lost = RENEW.run_sync(server.client, msgspec.json.encode({"now": T0 + 20, "lease_s": 30, "calls": [("c", 1)]}))
    assert lost == b"[]"
    assert server.ask("c", T0 + 35, worker="two")[0] == "elsewhere"


def test_who_did_not_get_the_answer_finds_its_own_lease_again(server: Server) -> None:
    assert server.ask("c", T0, owner="me")[:3] == ["go", 1, 1]
    # The answer was lost, and it asks again; another does not get it.
    assert server.ask("c", T0 + 1, owner="me")[:3] == ["go", 1, 2]
    assert server.ask("c", T0 + 1, owner="you")[0] == "elsewhere"


def test_a_record_that_the_server_lost_takes_nothing_from_who_runs_the_call(server: Server) -> None:
    token = server.ask("c", T0, owner="me")[1]
    server.client.flushdb()
    answer = server.ask("c", T0 + 1, number=2, token=token, owner="me")
    assert (answer[0], answer[2]) == ("go", 2)
    assert answer[1] > token
    server.client.flushdb()
    assert RENEW.run_sync(server.client, msgspec.json.encode({"now": T0, "lease_s": 30, "calls": [("c", 2)]})) == b"[]"


def test_a_cancelled_call_that_runs_elsewhere_is_told_from_there(server: Server) -> None:
    server.ask("c", T0)
    server.client.hset("gateway:call:c", "state", "cancelled")
    assert server.ask("c", T0 + 1)[0] == "elsewhere"
    # Its worker died with the attempt on the wire.
    assert server.ask("c", T0 + 31) == ["cancelled", 1, 1]


def test_what_was_not_sent_is_not_taken_for_interrupted(server: Server) -> None:
    server.ask("c", T0)
    server.report(T0 + 1, ends=[("c", "s", 1, 1, "bad", False, False, False, False)])
    answer = server.ask("c", T0 + 31)
    assert (answer[0], answer[2], answer[6]) == ("go", 2, 0)


def test_what_was_refused_and_parked_was_not_sent(server: Server) -> None:
    """Whether it was reported before it was parked, after that, or not yet."""
    for call_id, said in (("a", "before"), ("b", "after"), ("c", "not yet")):
        server.ask(call_id, T0)
        refused = [(call_id, "s", 1, 1, "good", False, False, False, True)]
        if said == "before":
            server.report(T0 + 1, ends=refused)
        parked = {"state": "parked", "parks": 1, "lease_until": 0, "attempts": 1, "maybe": 0, "owner": ""}
        server.client.hset(f"gateway:call:{call_id}", mapping=parked)
        if said == "after":
            server.report(T0 + 1, ends=refused)
        answer = server.ask(call_id, T0 + 2, parks=1)
        assert (answer[0], answer[2], answer[6], answer[8]) == ("go", 2, 0, 0)


def test_a_worker_that_died_after_a_429_interrupted_nothing(server: Server) -> None:
    server.ask("c", T0)
    server.report(T0 + 1, ends=[("c", "s", 1, 1, "good", False, False, False, True)])
    assert server.ask("c", T0 + 31)[6] == 0


def test_a_429_is_no_sign_that_the_limit_is_over(server: Server) -> None:
    server.report(T0, blocks=[("s", -1.0)])
    server.report(T0 + 5, ends=[("c", "s", 1, 0, "good", False, False, False, True)])
    assert float(server.client.hget(fleet_keys.limit("s"), "penalty_s")) == 0.5
    server.report(T0 + 5, ends=[("c", "s", 1, 0, "good", False, False, False, False)])
    assert float(server.client.hget(fleet_keys.limit("s"), "penalty_s")) == 0


def test_a_call_of_a_dead_worker_is_taken_over_and_its_owner_fenced_off(server: Server) -> None:
    server.ask("c", T0, worker="one")
    answer = server.ask("c", T0 + 31, worker="two")
    # Number 2, since the first attempt was under way: `interrupted`.
    assert (answer[:3], answer[6]) == (["go", 2, 2], 1)
    assert server.ask("c", T0 + 32, number=2, token=1)[0] == "drop"
    lost = RENEW.run_sync(server.client, msgspec.json.encode({"now": T0 + 33, "lease_s": 30, "calls": [("c", 1)]}))
    assert msgspec.json.decode(lost) == ["c"]


def test_a_worker_that_died_before_the_outcome_was_stored_counts_as_interrupted(server: Server) -> None:
    server.ask("c", T0)
    server.end("c", 1, T0 + 1)
    answer = server.ask("c", T0 + 31)
    assert (answer[0], answer[2], answer[6]) == ("go", 2, 1)


def test_what_may_have_been_sent_is_remembered(server: Server) -> None:
    server.ask("c", T0)
    server.report(T0 + 1, ends=[("c", "s", 1, 1, "bad", False, False, True)])
    assert server.ask("c", T0 + 31)[8] == 1
    # Not what a worker says that has lost the call.
    server.ask("d", T0)
    server.report(T0 + 1, ends=[("d", "s", 1, 7, "bad", False, True, True)])
    assert server.ask("d", T0 + 2)[0] == "elsewhere"


@pytest.mark.parametrize(("acted", "interrupted"), [(0, 0), (1, 1)])
def test_a_call_that_was_given_back_is_taken_at_once(server: Server, acted: int, interrupted: int) -> None:
    server.ask("c", T0)
    server.report(T0 + 1, ends=[("c", "s", 0, 1, "neutral", False, True, acted == 1)])
    answer = server.ask("c", T0 + 2)
    assert (answer[0], answer[6]) == ("go", interrupted)


def test_a_duplicate_of_a_call_with_an_outcome_is_dropped(server: Server) -> None:
    server.ask("c", T0)
    server.client.set("result-c", "{}")
    for left in (10.0, -10.0):
        assert server.ask("c", T0 + 100, left=left)[0] == "drop"


def test_a_message_from_before_the_parking_is_dropped(server: Server) -> None:
    server.ask("c", T0)
    server.client.hset("gateway:call:c", mapping={"state": "parked", "parks": 2, "lease_until": 0, "why": "breaker"})
    assert server.ask("c", T0, parks=1)[0] == "drop"
    answer = server.ask("c", T0, parks=2)
    assert (answer[0], answer[2], answer[6]) == ("go", 2, 0)


def test_a_late_call_tells_what_it_was_parked_for(server: Server) -> None:
    server.ask("c", T0)
    server.client.hset("gateway:call:c", mapping={"state": "parked", "parks": 1, "lease_until": 0, "why": "breaker"})
    assert server.ask("c", T0, parks=1, left=-1.0)[:4] == ["late", 2, 2, "breaker"]
    assert server.ask("new", T0, left=-1.0)[:4] == ["late", 1, 1, ""]


@pytest.mark.parametrize("token", [0, 1])
def test_a_cancelled_call_is_not_sent(server: Server, token: int) -> None:
    if token:
        server.ask("c", T0)
    server.client.hset("gateway:call:c", "state", "cancelled")
    assert server.ask("c", T0, token=token, number=2)[:2] == ["cancelled", 0]


def test_a_promise_of_the_budget_is_paid_once(server: Server) -> None:
    server.fresh(per_s=1.0, share=0.0)
    assert server.ask("a", T0, number=2)[0] == "go"
    answer = server.ask("c", T0, number=2)
    assert (answer[0], answer[3]) == ("hold", "budget")
    assert float(answer[5]) == pytest.approx(1.0)
    server.client.hset("gateway:call:c", mapping={"state": "parked", "parks": 1, "lease_until": 0, "attempts": 1})
    assert server.ask("c", T0 + 1, parks=1)[:3] == ["go", 2, 2]
    assert server.ask("d", T0 + 1, number=2)[0] == "hold"


def test_a_call_that_ends_its_workers_ends_itself(server: Server) -> None:
    server.fresh()
    for death in range(3):
        answer = server.ask("c", T0 + 100 * death, number=1)
        assert (answer[0], answer[6]) == ("go", int(death > 0))
    assert server.record("c")["deaths"] == "2"
    # The lease is the last one's: nobody else ends the call meanwhile.
    poison = server.ask("c", T0 + 300, number=1)
    assert poison == ["poison", 4, 4, 3]
    assert server.ask("c", T0 + 301, number=1)[0] == "elsewhere"


def test_who_did_not_hear_that_a_call_is_poisonous_hears_it_again(server: Server) -> None:
    server.fresh()
    for death in range(3):
        assert server.ask("c", T0 + 100 * death, number=1)[0] == "go"
    assert server.ask("c", T0 + 300, number=1, owner="me") == ["poison", 4, 4, 3]
    assert server.ask("c", T0 + 301, number=1, owner="me") == ["poison", 4, 4, 3]
    # Nor does it go for whoever comes after this one.
    assert server.ask("c", T0 + 400, number=1, owner="you")[0] == "poison"


def test_who_did_not_hear_that_a_call_goes_alone_may_send_it(server: Server) -> None:
    """As many deaths, but others were beside it: its own attempt, that it was not told of, is not held against it."""
    server.fresh()
    for death in range(3):
        number = server.ask("c", T0 + 100 * death)[2]
        server.end("c", number, T0 + 100 * death)
    assert server.ask("c", T0 + 300, owner="me")[0] == "go"
    assert server.ask("c", T0 + 301, owner="me")[0] == "go"


def test_a_renewal_that_comes_late_gives_no_lease_back(server: Server) -> None:
    token = server.ask("c", T0, owner="me")[1]
    server.client.hset("gateway:call:c", mapping={"state": "parked", "parks": 1, "lease_until": 0, "owner": ""})
    request = {"now": T0 + 1, "lease_s": 30, "calls": [("c", token)]}
    assert RENEW.run_sync(server.client, msgspec.json.encode(request)) == b"[]"
    assert server.record("c")["lease_until"] == "0"
    assert server.ask("c", T0 + 2, owner="you", parks=1)[0] == "go", "it comes back, and nobody has it"


def test_a_call_whose_worker_ended_when_it_had_its_answer_is_not_the_cause(server: Server) -> None:
    server.fresh()
    for death in range(9):
        answer = server.ask("c", T0 + 100 * death, number=1)
        assert answer[0] == "go"
        server.end("c", answer[2], T0 + 100 * death)
    # But not for ever.
    for death in range(9, 11):
        answer = server.ask("c", T0 + 100 * death, number=1)
        server.end("c", answer[2], T0 + 100 * death)
    assert answer[0] == "poison"


@pytest.mark.parametrize(("kept", "interrupted"), [(True, 0), (False, 1)], ids=["record kept", "record lost"])
def test_a_message_that_comes_again_to_a_server_without_its_record_may_have_been_sent(
    server: Server, kept: bool, interrupted: int
) -> None:
    server.fresh()
    if kept:
        server.client.hset("gateway:call:c", mapping={"state": "pending", "deadline_at": T0 + 10})
    assert server.ask("c", T0, recorded=True)[6] == interrupted


def test_a_message_of_a_producer_that_makes_no_records_is_no_sign_of_a_loss(server: Server) -> None:
    server.fresh()
    assert server.ask("c", T0, recorded=False)[6] == 0


def test_of_the_calls_that_ended_two_workers_one_goes_at_a_time(server: Server) -> None:
    server.fresh()
    for call_id in ("innocent", "poison", "other"):
        server.client.hset(f"gateway:call:{call_id}", mapping={"lease": 1, "deaths": 2, "state": "parked"})
    assert server.ask("poison", T0)[0] == "go"
    # Another one waits outside the worker, and what never ended a worker goes on.
    held = server.ask("innocent", T0)
    assert (held[0], held[3], float(held[5])) == ("hold", "quarantine", 1.0)
    assert server.ask("new", T0)[0] == "go"
    server.end("new", 1, T0)
    assert server.ask("innocent", T0, token=held[1])[0] == "hold"
    server.end("poison", 1, T0)
    assert server.ask("other", T0)[0] == "go"
    # A worker that ends with it gives the place back in time.
    assert 10 <= server.client.ttl("gateway:suspect") <= 11


def test_a_suspect_is_not_hedged(server: Server) -> None:
    server.fresh()
    server.client.hset("gateway:call:c", mapping={"deaths": 2})
    token = server.ask("c", T0, owner="me")[1]
    assert server.ask("c", T0, number=2, token=token, owner="me", hedge=True)[3] == "budget"


def test_a_call_that_was_sent_without_a_lease_and_has_its_outcome_is_dropped(server: Server) -> None:
    server.fresh()
    server.client.hset("gateway:call:c", mapping={"state": "pending", "deadline_at": T0 + 10})
    server.client.set("result-c", "{}")
    assert server.ask("c", T0) == ["drop", "it has its outcome"]


def test_a_hedge_that_was_not_sent_costs_nothing(server: Server) -> None:
    def tokens() -> float:
        return float(server.client.hget(fleet_keys.budget("s"), "tokens") or 0)

    server.fresh(per_s=0.0, share=1.0, breaker=False)
    token = server.ask("c", T0)[1]
    before = tokens()
    go = server.ask("c", T0, number=2, token=token, hedge=True)
    assert go[0] == "go"
    assert tokens() == before - 1
    server.report(T0, ends=[("c", "s", go[2], token, "neutral", False, False, False, False, True)])
    assert tokens() == before
