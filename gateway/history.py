"""What became of the latest calls of the fleet, and of each of their attempts: a bounded stream in the results' Redis.

`gateway:history` has one entry for each time that a worker was done with a call or message; a call that was parked has
several. Its one field `e` is a `HistoryEntry` as JSON. It has no payload.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Self

import msgspec

from gateway.records import CallState
from gateway.redis_client import open_sync
from gateway.settings import SettingsError
from gateway.whereabouts import Whereabouts

__all__ = [
    "DEFAULT_LENGTH",
    "FIELD",
    "KEY",
    "Attempted",
    "History",
    "HistoryEntry",
    "Wanted",
    "decoded",
    "history_length",
]

KEY = "gateway:history"
FIELD = "e"
#: Entries; 8 to 17 MB of Redis.
DEFAULT_LENGTH = 20_000
_MOST_LENGTH = 10_000_000
_PAGE = 500


class Attempted(msgspec.Struct, frozen=True, omit_defaults=True):
    """One attempt.

    Attributes:
        number: from 1.
        at: Unix seconds when it started.
        took_s: seconds.
        outcome: `reply`, an error's class, or `cancelled`.
        status: of its answer.
        hedge: it ran beside another.
    """

    number: int
    at: float
    took_s: float
    outcome: str
    status: int | str | None = None
    hedge: bool = False


class HistoryEntry(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What a worker did with a call, or with a message that became none.

    Attributes:
        at: Unix seconds, when it was done with it.
        event: `reply`, `error`, `parked`, `dropped` or `refused`.
        call_id, correlation_id, caller, service, operation, protocol: of the call, as far as they are known.
        worker: `host:pid`.
        status, error, said, delivery: of the outcome; `said` is what the gateway says of it,
            nothing of what the service said or was sent.
        why, until: what it waits for, and until when (Unix seconds; None: until a gate opens).
        queued_s: from submit to this worker; None: it had been parked, or nobody knows.
        spent_s: seconds in workers.
        attempts: those of this worker.
        held: how often an attempt had to wait here, by what for.
        parks: how often it had been parked before.
    """

    at: float
    event: str
    call_id: str
    correlation_id: str | None = None
    caller: str | None = None
    service: str | None = None
    operation: str | None = None
    protocol: str | None = None
    worker: str = ""
    status: int | str | None = None
    error: str | None = None
    said: str | None = None
    delivery: str | None = None
    why: str | None = None
    until: float | None = None
    queued_s: float | None = None
    spent_s: float | None = None
    attempts: tuple[Attempted, ...] = ()
    held: dict[str, int] = {}
    parks: int = 0


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which entries; what is None is not asked for.

    Attributes:
        correlation_id, call_id, service, operation, caller, error: equal to the entry's.
        since: Unix seconds: not older.
    """

    correlation_id: str | None = None
    call_id: str | None = None
    service: str | None = None
    operation: str | None = None
    caller: str | None = None
    error: str | None = None
    since: float | None = None

    def matches(self, entry: HistoryEntry) -> bool:
        """Whether an entry is one of them."""
        for name in ("correlation_id", "call_id", "service", "operation", "caller", "error"):
            asked = getattr(self, name)
            if asked is not None and asked != getattr(entry, name):
                return False
        return True


class History:
    """Reads it.

    Args:
        client: a blocking client of the Redis that holds results.

    Every method raises what `gateway.redis_client.ERRORS` has when Redis does not answer.
    """

    def __init__(self, client: Any) -> None:
        self._redis = client

    @classmethod
    def open(cls, url: str) -> Self:
        """At an address as `Settings.result_url` has it."""
        return cls(open_sync(url))

    def __len__(self) -> int:
        return int(self._redis.xlen(KEY))

    def latest(self, wanted: Wanted, limit: int) -> list[HistoryEntry]:
        """The latest entries of this kind, in the order of their ends."""
        found: list[HistoryEntry] = []
        for entry in self._backwards(wanted.since):
            if wanted.matches(entry):
                found.append(entry)
                if len(found) == limit:
                    break
        found.reverse()
        return found

    def newest(self) -> bytes:
        """The place of the last entry, to `follow` from."""
        last = self._redis.xrevrange(KEY, count=1)
        return bytes(last[0][0]) if last else b"0"

    def follow(self, wanted: Wanted, after: bytes, wait_s: float = 1.0) -> Iterator[HistoryEntry | None]:
        """Entries as they come, and none is missed; None each time that none came for `wait_s`.

        Args:
            wanted: which ones.
            after: what `newest` said.
            wait_s: seconds.
        """
        last = after
        while True:
            answer = self._redis.xread({KEY: last}, count=_PAGE, block=int(wait_s * 1000))
            if not answer:
                yield None
                continue
            for number, fields in answer[0][1]:
                last = number
                entry = decoded(fields)
                if entry is not None and wanted.matches(entry):
                    yield entry

    def whereabouts(self, call_id: str, state: CallState, now: float) -> Whereabouts:
        """Where a call is that has not ended, see `Whereabouts.read`."""
        return Whereabouts.read(self._redis, call_id, state, now)

    def now(self) -> float:
        """Unix seconds, by the Redis's clock."""
        seconds, microseconds = self._redis.time()
        return float(seconds) + float(microseconds) / 1e6

    def close(self) -> None:
        """Give the connection back."""
        self._redis.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _backwards(self, since: float | None) -> Iterator[HistoryEntry]:
        oldest = "-" if since is None else f"{max(0, int(since * 1000))}-0"
        newest = "+"
        while page := self._redis.xrevrange(KEY, newest, oldest, count=_PAGE):
            for number, fields in page:
                newest = f"({number.decode()}"
                entry = decoded(fields)
                if entry is not None:
                    yield entry


def history_length(environ: Mapping[str, str]) -> int:
    """How many entries are kept, as `GATEWAY_HISTORY` says; 0: it is off.

    Raises:
        SettingsError: it is no such number.
    """
    written = environ.get("GATEWAY_HISTORY", "").strip().lower()
    if not written:
        return DEFAULT_LENGTH
    if written == "off":
        return 0
    if written.isascii() and written.isdecimal() and int(written) <= _MOST_LENGTH:
        return int(written)
    raise SettingsError(f"GATEWAY_HISTORY is no number of entries; set it to 0 … {_MOST_LENGTH}, or to off")


def decoded(fields: Mapping[bytes, bytes]) -> HistoryEntry | None:
    """An entry of the stream; None if it is not one of this version."""
    try:
        return msgspec.json.decode(fields[FIELD.encode()], type=HistoryEntry)
    except (KeyError, msgspec.DecodeError, UnicodeDecodeError):  # of another version, or somebody else's
        return None
