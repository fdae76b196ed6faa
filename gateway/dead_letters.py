"""The dead letters in the result Redis: kept, bounded, found, marked as replayed, purged.

| key | type | what |
|---|---|---|
| `gateway:dead` | sorted set | ids, by when they died (Unix seconds of this Redis's clock) |
| `gateway:dead-letters` | hash | id → JSON: `letter`, a `DeadLetter`, and `earlier`, attempts of earlier workers |
| `gateway:dead-replays` | hash | id → how often it was replayed, when last, and as which call, with spaces between |
| `gateway:dead-bytes` | string | size of all letters |

All four are made new when they are lost, and end by themselves when nothing died for longer than letters are kept.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, Self

import msgspec
import redis

from gateway.dead_letter import DeadLetter, merge, read_history
from gateway.records import key_of
from gateway.redis_client import open_sync

__all__ = ["KEEP", "KEPT_S", "MOST", "MOST_BYTES", "MOST_MESSAGE_BYTES", "DeadLetters", "Entry", "keep_arguments"]

#: Bounds of what is kept, the oldest goes first: letters, seconds, and bytes of all letters.
MOST, KEPT_S, MOST_BYTES = 10_000, 7 * 24 * 3600, 64 * 1024 * 1024
#: A letter whose message is larger is kept without it.
MOST_MESSAGE_BYTES = 1024 * 1024

_KEYS = ("gateway:dead", "gateway:dead-letters", "gateway:dead-replays", "gateway:dead-bytes")
_PAGE = 100

_START = """
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local size = tonumber(redis.call('GET', KEYS[4]) or nil)

local function forget(id)
  size = size - redis.call('HSTRLEN', KEYS[2], id)
  redis.call('HDEL', KEYS[2], id)
  redis.call('HDEL', KEYS[3], id)
  return redis.call('ZREM', KEYS[1], id)
end

-- A part of it was evicted, or removed by hand: what is whole stays.
if not size or redis.call('ZCARD', KEYS[1]) ~= redis.call('HLEN', KEYS[2]) then
  size = 0
  for _, id in ipairs(redis.call('HKEYS', KEYS[2])) do
    if redis.call('ZSCORE', KEYS[1], id) then
      size = size + redis.call('HSTRLEN', KEYS[2], id)
    else
      redis.call('HDEL', KEYS[2], id)
    end
  end
  for _, id in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
    if redis.call('HEXISTS', KEYS[2], id) == 0 then redis.call('ZREM', KEYS[1], id) end
  end
end
"""

#: Keeps letters, and lets go of the oldest beyond the bounds. KEYS: `_KEYS`. ARGV: see `keep_arguments`.
KEEP = f"""{_START}
local most, kept_s, most_bytes, record = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
for at = 5, #ARGV, 3 do
  local id, instead, letter = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  if instead == '1' or not redis.call('ZSCORE', KEYS[1], id) then
    local earlier = redis.call('HGET', record .. id, 'history') or '[]'
    local text = '{{"earlier":' .. cjson.encode(earlier) .. ',"letter":' .. letter .. '}}'
    size = size - redis.call('HSTRLEN', KEYS[2], id) + #text
    redis.call('HSET', KEYS[2], id, text)
    redis.call('ZADD', KEYS[1], string.format('%.6f', now), id)
  end
end
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now - kept_s, 'LIMIT', 0, 1000)) do forget(id) end
local over = redis.call('ZCARD', KEYS[1]) - most
if over > 0 then
  for _, id in ipairs(redis.call('ZRANGE', KEYS[1], 0, over - 1)) do forget(id) end
end
while size > most_bytes do
  local id = redis.call('ZRANGE', KEYS[1], 0, 0)[1]
  if not id then break end
  forget(id)
end
redis.call('SET', KEYS[4], size)
for _, key in ipairs(KEYS) do redis.call('EXPIRE', key, kept_s) end
return redis.call('ZCARD', KEYS[1])
"""

#: Forgets letters. KEYS: `_KEYS`. ARGV: ids. Returns how many there were.
_PURGE = f"""{_START}
local gone = 0
for _, id in ipairs(ARGV) do gone = gone + forget(id) end
redis.call('SET', KEYS[4], size, 'KEEPTTL')
if redis.call('ZCARD', KEYS[1]) == 0 then redis.call('DEL', unpack(KEYS)) end
return gone
"""

#: Counts replays before they are enqueued. KEYS: `_KEYS`. ARGV: triples of a letter's id, how often it was replayed as
#: far as the operator knows, and the new call's id. Returns for each 1, or 0: it is gone, or was replayed meanwhile.
_MARK = """
local now = redis.call('TIME')[1]
local answers = {}
for at = 1, #ARGV, 3 do
  local id, expected, call = ARGV[at], tonumber(ARGV[at + 1]), ARGV[at + 2]
  local count = tonumber(string.match(redis.call('HGET', KEYS[3], id) or '0', '^%d+') or 0)
  local ours = count == expected and redis.call('ZSCORE', KEYS[1], id)
  if ours then redis.call('HSET', KEYS[3], id, (count + 1) .. ' ' .. now .. ' ' .. call) end
  answers[#answers + 1] = ours and 1 or 0
end
local left = redis.call('TTL', KEYS[1])
if left > 0 then redis.call('EXPIRE', KEYS[3], left) end
return answers
"""

#: Takes replays back that were not enqueued. KEYS: `_KEYS`. ARGV: pairs of a letter's id and the new call's id.
_UNMARK = """
for at = 1, #ARGV, 2 do
  local count, call = string.match(redis.call('HGET', KEYS[3], ARGV[at]) or '', '^(%d+) %d+ (.+)$')
  if call == ARGV[at + 1] then
    if tonumber(count) > 1 then
      redis.call('HSET', KEYS[3], ARGV[at], (tonumber(count) - 1) .. ' 0 -')
    else
      redis.call('HDEL', KEYS[3], ARGV[at])
    end
  end
end
"""


class Entry(NamedTuple):
    """A letter on its way to be kept.

    Attributes:
        id: of the letter.
        letter: as JSON.
        instead: whether it takes the place of one with the same id, which knows less.
    """

    id: str
    letter: bytes
    instead: bool

    @classmethod
    def of(cls, letter: DeadLetter, *, instead: bool) -> Self:
        """With the message only if that is not too large."""
        if len(bytes(letter.message)) > MOST_MESSAGE_BYTES:
            letter = msgspec.structs.replace(letter, message=msgspec.Raw(b"null"))
        return cls(letter.id, msgspec.json.encode(letter), instead)


class _Stored(msgspec.Struct):
    letter: DeadLetter
    earlier: str = "[]"


def keep_arguments(
    entries: Iterable[Entry], *, most: int = MOST, kept_s: float = KEPT_S, most_bytes: int = MOST_BYTES
) -> dict[str, Any]:
    """How `KEEP` is called, as redis-py's scripts take it."""
    each = [part for entry in entries for part in (entry.id, int(entry.instead), entry.letter)]
    return {"keys": list(_KEYS), "args": [most, int(kept_s), most_bytes, key_of(""), *each]}


class DeadLetters:
    """A blocking view of them.

    Args:
        client: of the Redis that holds the results.

    Every method raises what `gateway.redis_client.ERRORS` has when Redis does not answer.
    """

    def __init__(self, client: redis.Redis) -> None:
        self._redis: Any = client
        self._keep, self._purge, self._mark, self._unmark = map(
            self._redis.register_script, (KEEP, _PURGE, _MARK, _UNMARK)
        )

    @classmethod
    def open(cls, url: str) -> Self:
        """At an address as `Settings.result_url` has it; connects on first use."""
        return cls(open_sync(url))

    def close(self) -> None:
        """Give the connections back."""
        self._redis.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def count(self) -> int:
        """How many there are."""
        return int(self._redis.zcard(_KEYS[0]))

    def now(self) -> float:
        """The time that letters die in."""
        seconds, microseconds = self._redis.time()
        return float(seconds) + float(microseconds) / 1e6

    def keep(self, entries: Sequence[Entry]) -> None:
        """Keep letters, and let go of the oldest beyond the bounds."""
        self._keep(**keep_arguments(entries))

    def find(self, letter_id: str) -> DeadLetter | None:
        """One letter."""
        return next(iter(self.get([letter_id])), None)

    def get(self, letter_ids: Sequence[str]) -> list[DeadLetter]:
        """Letters by their ids, in this order; those that are gone, or of a newer version, are left out."""
        if not letter_ids:
            return []
        pipe = self._redis.pipeline(transaction=False)
        pipe.hmget(_KEYS[1], letter_ids)
        pipe.hmget(_KEYS[2], letter_ids)
        pipe.zmscore(_KEYS[0], letter_ids)
        found = zip(*pipe.execute(), strict=True)
        letters = [_letter(*parts) for parts in found]
        return [letter for letter in letters if letter is not None]

    def __iter__(self) -> Iterator[DeadLetter]:
        """All of them, the oldest first, a page at a time; what dies meanwhile may be left out."""
        since = self.now() - KEPT_S
        ids = [name.decode() for name in self._redis.zrangebyscore(_KEYS[0], since, "+inf")]
        for start in range(0, len(ids), _PAGE):
            yield from self.get(ids[start : start + _PAGE])

    def mark(self, replays: Sequence[tuple[DeadLetter, str]]) -> list[bool]:
        """Count replays that are about to be enqueued.

        Args:
            replays: letters as they were read, and the ids of the calls that replay them.

        Returns:
            For each whether it may be enqueued: False if the letter is gone, or somebody else replayed it since.
        """
        each = [part for letter, call_id in replays for part in (letter.id, letter.replays, call_id)]
        return [answer == 1 for answer in self._mark(keys=_KEYS, args=each)]

    def unmark(self, replays: Iterable[tuple[DeadLetter, str]]) -> None:
        """Take back what `mark` counted, of calls that were not enqueued."""
        self._unmark(keys=_KEYS, args=[part for letter, call_id in replays for part in (letter.id, call_id)])

    def purge(self, letter_ids: Sequence[str]) -> int:
        """Forget letters, for good; how many there were."""
        pages = range(0, len(letter_ids), _PAGE)
        return sum(int(self._purge(keys=_KEYS, args=letter_ids[start : start + _PAGE])) for start in pages)

    def __repr__(self) -> str:
        return f"<DeadLetters {MOST} at most, {KEPT_S / 86400:g} days>"


def _letter(text: bytes | None, replays: bytes | None, died_at: float | None) -> DeadLetter | None:
    if text is None or died_at is None:
        return None
    try:
        stored = msgspec.json.decode(text, type=_Stored)
    except (msgspec.DecodeError, UnicodeError):
        return None
    count, at, call_id = (replays or b"0 0 -").decode().split(" ", 2)
    return msgspec.structs.replace(
        stored.letter,
        attempts=merge(read_history(stored.earlier), stored.letter.attempts),
        died_at=float(died_at),
        replays=int(count),
        replayed_at=float(at) if at != "0" else None,
        replayed_as=call_id if call_id != "-" else None,
    )
