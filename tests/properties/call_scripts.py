"""The real scripts on a real server, asked in the words of `call_machine`, at a time that is told."""

import json
from collections.abc import Iterable
from typing import Any

from gateway import fleet_keys
from gateway.records import key_of
from tests.properties.call_machine import CLAIM_S, LEASE_S, MOST_DEATHS, Answer, Ask, Claim, End, Message, Park
from workers import outcome_backend
from workers.fleet.script import Script

__all__ = ["Scripts"]

_SERVICE = "s"
#: How long an attempt can take. What ends with it ends by this machine's clock, so `expire` says when it does.
_LIFE_S = 1000.0
_SUSPECT = "gateway:suspect"
_TERMS = {
    "interval": 0,
    "burst": 1,
    "concurrency": 1000,
    "adaptive": False,
    "breaker": True,
    "probes": 2,
    "share": 1.0,
    # More retries than a run can make.
    "per_s": 1000.0,
}
_NUMBERS = (
    "lease",
    "lease_until",
    "attempts",
    "parks",
    "open",
    "maybe",
    "paid",
    "deaths",
    "interrupted",
    "alone",
    "deadline_at",
)


class Scripts:
    """One database, emptied at the start."""

    def __init__(self, client: Any) -> None:
        self._redis = client
        client.flushdb()
        self._admit, self._report, self._renew = Script("admit.lua"), Script("report.lua"), Script("renew.lua")
        self._park, self._claim, self._claimed = Script("park.lua"), Script("claim.lua"), Script("claimed.lua")
        self._store = client.register_script(outcome_backend._STORE)  # the one script without a file

    def _run(self, script: Script, document: object) -> Any:
        return json.loads(script.run_sync(self._redis, json.dumps(document)))

    def submit(self, call: str, deadline_at: float) -> None:
        self._redis.hset(key_of(call), mapping={"state": "pending", "deadline_at": repr(deadline_at)})

    def admit(self, ask: Ask, now: float) -> Answer:
        who = (ask.call, _SERVICE, ask.number, ask.token, ask.owner, ask.parks)
        asked = (*who, ask.left_s, 0.25, False, _LIFE_S, ask.recorded)
        reply = self._run(
            self._admit,
            {
                "now": now,
                "worker": ask.owner,
                "lease_s": LEASE_S,
                "most_deaths": MOST_DEATHS,
                "expires_s": 3600,
                "results": "result-",
                "services": {_SERVICE: _TERMS},
                "asks": [asked],
            },
        )
        (answer,) = reply["answers"]
        match answer:
            case ["go", token, number, _, _, _, interrupted, _, maybe, *_]:
                return "go", token, number, interrupted, maybe
            case ["hold", token, number, why, _, due, interrupted, _, maybe, *_]:
                return "hold", token, number, why, float(due), interrupted, maybe
            case ["late", token, number, why, interrupted, _, maybe, *_]:
                return "late", token, number, why, interrupted, maybe
            case ["poison", token, number, deaths, *_]:
                return "poison", token, number, deaths
            case ["drop", *_]:
                return ("drop",)
        return tuple(answer)

    def report(self, end: End, now: float) -> None:
        told = (
            end.call,
            _SERVICE,
            end.number,
            end.token,
            "good" if end.answered else "bad",
            False,
            end.over,
            end.maybe,
            False,
        )
        terms = {_SERVICE: {"reset_s": 30, "threshold": 2}}
        named = {"now": now, "worker": "w", "services": terms, "trips": [], "blocks": [], "adaptive": []}
        self._run(self._report, {**named, "ends": [told]})

    def renew(self, held: Iterable[tuple[str, int]], now: float) -> set[str]:
        return set(self._run(self._renew, {"now": now, "lease_s": LEASE_S, "calls": list(held)}))

    def park(self, asked: Park, now: float) -> int:
        call = {
            "id": asked.call,
            "service": _SERVICE,
            "message": '{"v":1}',
            "deadline_at": asked.deadline_at,
            "token": asked.token,
            "owner": asked.owner,
            "attempts": asked.attempts,
            "free": 0,
            "maybe": asked.maybe,
            "spent": 0,
            "paid": asked.paid,
            "why": asked.why,
        }
        if asked.due is not None:
            call["due"] = asked.due
        (answer,) = self._run(self._park, {"now": now, "ttl": 3600, "calls": [call]})
        return int(answer)

    def postpone(self, message: Message, owner: str, due: float, maybe: int, now: float) -> None:
        copy = {
            "id": message.call,
            "service": _SERVICE,
            "message": '{"v":1}',
            "due": due,
            "owner": owner,
            "maybe": maybe,
            "copy": message.parks,
            "token": -1,
        }
        self._run(self._park, {"now": now, "ttl": 3600, "calls": [copy]})

    def forget(self, call: str, token: int, now: float) -> None:
        gone = {"id": call, "service": _SERVICE, "token": token}
        self._park.run_sync(self._redis, json.dumps({"now": now, "ttl": 3600, "calls": [], "forget": [gone]}))

    def claim(self, now: float) -> list[Claim]:
        service = {"name": _SERVICE, **_TERMS}
        found = self._run(self._claim, {"now": now, "claim_s": CLAIM_S, "services": [service]})["claimed"]
        claims = []
        for _, member, parks, packed, for_s in found:
            fields = json.loads(packed)
            message = Message(member.partition("~")[0], fields["parks"], fields["maybe"])
            claims.append(Claim(member, parks, message, for_s))
        return sorted(claims, key=lambda one: one.member)

    def claimed(self, claims: Iterable[Claim]) -> None:
        self._run(self._claimed, [(_SERVICE, one.member, one.parks) for one in claims])

    def cancel(self, call: str) -> None:
        # As `Results.mark_cancelled` does.
        self._redis.hset(key_of(call), "state", "cancelled")
        if self._redis.hexists(key_of(call), "service"):
            self._redis.zadd(fleet_keys.parked_deadlines(_SERVICE), {call: 0}, xx=True)

    def store(self, call: str, outcome: str) -> bool:
        """False if it has another one."""
        stored = json.dumps({"status": "SUCCESS", "result": outcome})
        return bool(self._store(keys=[f"result-{call}"], args=[stored, 3600]))

    def outcome(self, call: str) -> str | None:
        raw = self._redis.get(f"result-{call}")
        return None if raw is None else str(json.loads(raw)["result"])

    def suspect(self) -> str | None:
        raw = self._redis.get(_SUSPECT)
        return None if raw is None else str(raw.decode())

    def expire(self) -> None:
        """The suspect's time is over."""
        self._redis.delete(_SUSPECT)

    def lose(self, call: str) -> None:
        self._redis.delete(key_of(call))

    def switch(self, *, breaker_open: bool) -> None:
        phase = {"phase": "open", "until": "inf"} if breaker_open else {"phase": "closed", "until": "0"}
        self._redis.hset(fleet_keys.breaker(_SERVICE), mapping=phase)

    def record(self, call: str) -> dict[str, Any]:
        """The fields that are there."""
        raw = {name.decode(): value.decode() for name, value in self._redis.hgetall(key_of(call)).items()}
        return {name: float(value) if name in _NUMBERS else value for name, value in raw.items()}

    def lot(self) -> dict[str, tuple[float, float, int, int]]:
        """Member → due, end, parks, maybe."""
        found = {}
        for member, due in self._redis.zrange(fleet_keys.parked(_SERVICE), 0, -1, withscores=True):
            ends = self._redis.zscore(fleet_keys.parked_deadlines(_SERVICE), member)
            fields = json.loads(self._redis.hget(fleet_keys.parked_messages(_SERVICE), member))
            found[member.decode()] = (due, ends, fields["parks"], fields["maybe"])
        return found
