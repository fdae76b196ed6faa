"""The fleet's state as operators see it: one snapshot of what all workers share, and the breakers by hand.

Names and fields of what is read are in `gateway.fleet_keys`. All times are Unix seconds of the clock of that Redis.
"""

import time
from collections.abc import Callable, Iterable
from typing import Any, Self

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from gateway import fleet_keys
from gateway.fleet_state import ServiceState, read_state, text
from gateway.redis_client import open_sync

__all__ = ["Fleet"]

#: Seconds for one connection and for one answer. A snapshot takes one connection and two answers: whoever asks for one
#: learns within two seconds that there is none.
_CONNECT_S = 0.6
_ANSWER_S = 0.6

#: KEYS: the breaker, its probes, the services, the limit. ARGV: what to do, service, by, reason.
_BY_HAND = """
local now = redis.call('TIME')
now = string.format('%d.%06d', now[1], now[2])
local epoch = redis.call('HINCRBY', KEYS[1], 'epoch', 1)
-- A probe of an earlier phase that is still on the wire decides nothing any more.
redis.call('HDEL', KEYS[1], 'successes', 'granted')
redis.call('DEL', KEYS[2])
if ARGV[1] == 'open' then
  redis.call('HSET', KEYS[1], 'phase', 'open', 'until', 'inf', 'opened_at', now, 'by', ARGV[3], 'reason', ARGV[4])
elseif ARGV[1] == 'close' then
  redis.call('HSET', KEYS[1], 'phase', 'closed', 'closed_at', now, 'by', ARGV[3])
  redis.call('HDEL', KEYS[1], 'until', 'reason')
else
  redis.call('DEL', KEYS[1])
  redis.call('HSET', KEYS[1], 'phase', 'closed', 'epoch', epoch)
  -- What the service's own limit taught, too.
  redis.call('HDEL', KEYS[4], 'blocked_until', 'penalty_s')
end
redis.call('SADD', KEYS[3], ARGV[2])
return epoch
"""

#: KEYS: the pause, the services. ARGV: what to do, service, by, reason, for how many seconds (-1: until it is resumed).
_PAUSING = """
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local until_ = redis.call('HGET', KEYS[1], 'until')
local is_paused = until_ == 'inf' or tonumber(until_ or '0') > now
if ARGV[1] == 'resume' then
  if not is_paused then return 0 end
  -- For as long as a ramp may take it is known when this was.
  redis.call('HSET', KEYS[1], 'until', string.format('%.6f', now), 'by', ARGV[3])
  redis.call('EXPIRE', KEYS[1], 3600)
  return 1
end
local for_s = tonumber(ARGV[5])
redis.call('HSET', KEYS[1], 'until', for_s < 0 and 'inf' or string.format('%.6f', now + for_s), 'by', ARGV[3],
  'reason', ARGV[4])
if not is_paused then redis.call('HSET', KEYS[1], 'at', string.format('%.6f', now)) end
if for_s < 0 then redis.call('PERSIST', KEYS[1]) else redis.call('EXPIRE', KEYS[1], math.ceil(for_s) + 3600) end
redis.call('SADD', KEYS[2], ARGV[2])
return 1
"""


class Fleet:
    """A blocking view of the Redis that holds the fleet's state.

    Args:
        client: of that Redis.

    Every method raises what `gateway.redis_client.ERRORS` has when Redis does not answer.
    """

    def __init__(self, client: redis.Redis) -> None:
        self._redis: Any = client
        self._by_hand = self._redis.register_script(_BY_HAND)
        self._pausing = self._redis.register_script(_PAUSING)

    @classmethod
    def open(cls, url: str) -> Self:
        """At an address as `Settings.result_url` has it; connects on first use, and gives up within two seconds."""
        client = open_sync(url)
        client.connection_pool.connection_kwargs.update(
            socket_connect_timeout=_CONNECT_S, socket_timeout=_ANSWER_S, retry=Retry(NoBackoff(), 0)
        )
        return cls(client)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._redis.close()

    def services(self) -> list[str]:
        """Names of all services of which there is any state, sorted."""
        return sorted(map(text, self._redis.smembers(fleet_keys.SERVICES)))

    def states(self, names: Iterable[str] | None = None) -> dict[str, ServiceState]:
        """A snapshot by name, of these services or of all of which there is any state."""
        pipe = self._redis.pipeline(transaction=False)
        pipe.time()
        pipe.smembers(fleet_keys.SERVICES)
        clock, known = pipe.execute()
        now = _unix(clock)
        wanted = sorted(map(text, known)) if names is None else list(names)
        pipe = self._redis.pipeline(transaction=False)
        for name in wanted:
            pipe.hgetall(fleet_keys.breaker(name))
            pipe.zcount(fleet_keys.probes(name), f"({now!r}", "+inf")
            pipe.hgetall(fleet_keys.limit(name))
            pipe.zcount(fleet_keys.inflight(name), f"({now!r}", "+inf")
            pipe.hgetall(fleet_keys.budget(name))
            pipe.zcard(fleet_keys.parked(name))
            pipe.zrange(fleet_keys.parked(name), 0, 0, withscores=True)
            pipe.hgetall(fleet_keys.paused(name))
        answers = iter(pipe.execute() if wanted else [])
        return {name: read_state(name, now, *(next(answers) for _ in range(8))) for name in wanted}

    def open_breaker(self, service: str, *, by: str, reason: str) -> None:
        """Let no call through until somebody closes it."""
        self._change("open", service, by, reason)

    def close_breaker(self, service: str, *, by: str) -> None:
        """Let calls through, as a recovered service's: what is parked comes back as a ramp."""
        self._change("close", service, by)

    def reset_breaker(self, service: str) -> None:
        """Forget everything about it, as if the service had never been called: also what its own limit taught."""
        self._change("reset", service, "")

    def pause(self, service: str, *, by: str, reason: str, for_s: float | None = None) -> None:
        """Let no attempt begin until it is resumed, or for so many seconds; those under way end. Calls wait, parked."""
        for_s = -1.0 if for_s is None else for_s
        self._pausing(
            keys=[fleet_keys.paused(service), fleet_keys.SERVICES], args=["pause", service, by, reason, for_s]
        )

    def resume(self, service: str, *, by: str) -> bool:
        """Let attempts begin again: what waits comes back as a ramp. False: it was not paused."""
        keys = [fleet_keys.paused(service), fleet_keys.SERVICES]
        return bool(self._pausing(keys=keys, args=["resume", service, by, "", 0]))

    def clock_skew_s(self, wall: Callable[[], float] = time.time) -> float:
        """By how much the fleet's clock is ahead of this host's, in seconds.

        The time of the answer is not counted: a skew within half a round trip is 0.
        """
        self._redis.ping()  # connecting would count as distance
        before = wall()
        theirs = _unix(self._redis.time())
        after = wall()
        if before <= theirs <= after:
            return 0.0
        return theirs - after if theirs > after else theirs - before

    def _change(self, what: str, service: str, by: str, reason: str = "") -> None:
        keys = [fleet_keys.breaker(service), fleet_keys.probes(service), fleet_keys.SERVICES, fleet_keys.limit(service)]
        self._by_hand(keys=keys, args=[what, service, by, reason])


def _unix(clock: tuple[int, int]) -> float:
    seconds, microseconds = clock
    return float(seconds) + float(microseconds) / 1e6
