"""Whether a worker lives, and whether it takes calls: what it is asked for, and how long it took to answer."""

from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Protocol

__all__ = ["HUB_HUNG_S", "HUB_SLOW_S", "HUNG_S", "Asked", "Vitals", "Worker"]

#: Seconds without an answer after which a thread hangs. Nothing that a call does may take a tenth of it.
HUNG_S = 10.0
#: The thread that takes messages waits for the broker itself, each time for some seconds, before it gives a connection
#: up; a worker is not ended for a broker that stalls. It takes nothing meanwhile.
HUB_HUNG_S, HUB_SLOW_S = 60.0, 5.0
#: Seconds for which a late answer is told: no scrape, each 15 to 30 s, misses what lasted a moment.
_TOLD_S = 30.0


class Worker(Protocol):
    """What is asked about a worker. On any thread."""

    def ask_loop(self, answer: Callable[[], object]) -> None:
        """Have this called on the loop of the calls."""
        ...

    def ask_hub(self, answer: Callable[[], object]) -> None:
        """Have this called on the thread that takes messages and acknowledges them."""
        ...

    def look_at_store(self) -> None:
        """Have the result store asked whether it answers; `is_store_away` tells a moment later."""
        ...

    @property
    def is_started(self) -> bool:
        """Whether it can perform calls."""
        ...

    @property
    def is_connected(self) -> bool:
        """Whether it takes messages from the broker."""
        ...

    @property
    def is_stopping(self) -> bool:
        """Whether it was told to end."""
        ...

    @property
    def is_store_away(self) -> bool:
        """Whether the result store did not answer a moment ago."""
        ...


class Asked:
    """A thread that is asked again and again whether it still turns.

    Args:
        ask: has something called there.
        now: seconds.
    """

    def __init__(self, ask: Callable[[Callable[[], object]], object], now: Callable[[], float] = monotonic) -> None:
        self._ask = ask
        self._now = now
        self._asked_at: float | None = None
        #: When it answered and how late, each later than all that came after it.
        self._late: deque[tuple[float, float]] = deque()

    def ask(self) -> None:
        """Ask, unless an answer is awaited."""
        if self._asked_at is None:
            self._asked_at = self._now()
            self._ask(self._answer)

    def _answer(self) -> None:
        asked_at, self._asked_at = self._asked_at, None
        if asked_at is None:
            return
        now = self._now()
        lag_s = now - asked_at
        while self._late and self._late[-1][1] <= lag_s:
            self._late.pop()
        self._late.append((now, lag_s))
        while self._late[0][0] < now - _TOLD_S:
            self._late.popleft()

    @property
    def lag_s(self) -> float:
        """The longest that it took to answer within half a minute, or has not answered by now. On any thread."""
        since = self._now() - _TOLD_S
        worst = max((lag_s for at, lag_s in tuple(self._late) if at >= since), default=0.0)
        return max(worst, self.silent_s)

    def forget(self) -> None:
        """It cannot answer now, which is no wonder."""
        self._asked_at = None

    @property
    def silent_s(self) -> float:
        """Seconds since it was asked and has not answered."""
        asked_at = self._asked_at
        return 0.0 if asked_at is None else self._now() - asked_at


class Vitals:
    """Of one worker. `look` is called each second.

    Args:
        worker: is asked.
        now: seconds.
    """

    def __init__(self, worker: Worker, now: Callable[[], float] = monotonic) -> None:
        self._worker = worker
        self.loop = Asked(worker.ask_loop, now)
        self.hub = Asked(worker.ask_hub, now)

    def look(self) -> None:
        """Ask both threads, and the store: without calls nobody else would notice that it is away."""
        self.loop.ask()
        self._worker.look_at_store()
        if self._worker.is_connected:
            self.hub.ask()
        else:
            # While it waits for the broker it does nothing else; to end the worker would not bring that back.
            self.hub.forget()

    def not_alive(self) -> list[str]:
        """Why it should be ended and started again; empty if it lives."""
        found = []
        if self.loop.silent_s > HUNG_S:
            found.append(f"the loop of the calls has not turned for {self.loop.silent_s:.0f} s")
        if self.hub.silent_s > HUB_HUNG_S:
            found.append(f"the thread that takes messages has not turned for {self.hub.silent_s:.0f} s")
        return found

    def not_ready(self) -> list[str]:
        """Why it takes no calls now; empty if it does."""
        found = self.not_alive()
        worker = self._worker
        if worker.is_stopping:
            found.append("it is stopping: calls in flight end, and it takes no others")
        elif not worker.is_started:
            found.append("it is starting")
        elif not worker.is_connected:
            found.append("it is not connected to the broker")
        elif HUB_SLOW_S < self.hub.silent_s <= HUB_HUNG_S:
            found.append(f"it has taken no messages for {self.hub.silent_s:.0f} s: it waits for the broker")
        if worker.is_store_away:
            found.append("the result store does not answer")
        return found
