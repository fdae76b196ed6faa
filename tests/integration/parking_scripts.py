"""The scripts of parking on a real server, at a time that a test tells."""

import json
from typing import Any

from gateway.fleet_keys import breaker
from gateway.records import key_of
from workers.fleet.script import Script

__all__ = ["CLAIM", "CLAIMED", "NOW", "PARK", "A", "Lot", "many"]

#: Far ahead: what expires by this clock must not be gone by the server's.
NOW = 4_000_000_000.0
A = "service-a"

PARK, CLAIM, CLAIMED = Script("park.lua"), Script("claim.lua"), Script("claimed.lua")


class Lot:
    """What an unparker and a worker do, at a time that is told."""

    def __init__(self, client: Any) -> None:
        self.redis = client

    def park(self, *ids: str, now: float = NOW, service: str = A, lease: bool = True, **fields: Any) -> list[int]:
        """Park calls, whose lease is 1."""
        for call_id in ids if lease else ():
            self.redis.hsetnx(key_of(call_id), "lease", 1)
        calls = [
            {
                "id": call_id,
                "service": service,
                "message": '{"v":1,"body":"[]"}',
                "deadline_at": now + 600,
                "token": 1,
                "owner": "me",
                "attempts": 0,
                "free": 0,
                "maybe": 0,
                "spent": 0.25,
                "paid": 0,
                "why": "the breaker is open",
                **fields,
            }
            for call_id in ids
        ]
        answers: list[int] = json.loads(PARK.run_sync(self.redis, json.dumps({"now": now, "ttl": 10, "calls": calls})))
        return answers

    def claim(self, now: float = NOW, *, claim_s: float = 30, **terms: Any) -> list[list[Any]]:
        """What goes now, as `[service, id, parks, message, for_s]`."""
        service = {
            "name": A,
            "interval": 0,
            "concurrency": 100_000,
            "adaptive": False,
            "breaker": True,
            "probes": 2,
            **terms,
        }
        asked = {"now": now, "claim_s": claim_s, "services": [service]}
        return list(json.loads(CLAIM.run_sync(self.redis, json.dumps(asked)))["claimed"])

    def ids(self, now: float = NOW, **terms: Any) -> list[str]:
        """The ids of what goes now."""
        return [one[1] for one in self.claim(now, **terms)]

    def go(self, now: float = NOW, **terms: Any) -> list[str]:
        """Claim, and say that all are published."""
        claims = self.claim(now, **terms)
        CLAIMED.run_sync(self.redis, json.dumps([one[:3] for one in claims]))
        return [one[1] for one in claims]

    def breaker(self, phase: str, **fields: Any) -> None:
        self.redis.hset(breaker(A), mapping={"phase": phase, **fields})


def many(count: int) -> list[str]:
    return [f"c{number:04}" for number in range(count)]
