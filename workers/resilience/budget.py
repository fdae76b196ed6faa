"""How many retries and hedges a service's calls may cost."""

from gateway.policy import Retry

__all__ = ["Budget"]

#: What is saved up in quiet times may become a burst of retries; this bounds it.
_MOST_TOKENS = 100.0


class Budget:
    """A bucket of tokens, one for each retry: calls fill it by a share, and time by a constant.

    So retries add at most `retry.budget` of the calls to a service's load, however many fail, while a service that is
    asked rarely still gets its retries (Finagle's `RetryBudget`). A token can be promised before it is there.

    Args:
        retry: `budget` and `budget_per_s`.
    """

    def __init__(self, retry: Retry) -> None:
        self._per_call = retry.budget
        self._per_s = retry.budget_per_s
        self._tokens = min(_MOST_TOKENS, retry.budget_per_s)
        self._at: float | None = None

    @property
    def tokens(self) -> float:
        """Retries that may be made, when it was last asked; negative once some are promised."""
        return self._tokens

    def deposit(self, now: float) -> None:
        """A call began: its first attempt pays in."""
        self._accrue(now)
        self._add(self._per_call)

    def withdraw(self, now: float, patience_s: float) -> float | None:
        """Take a token and tell in how many seconds it may be used; None: nothing taken, as it would be later.

        Args:
            now: seconds of any clock that goes forward.
            patience_s: seconds that the retry may wait for it at most.
        """
        self._accrue(now)
        wait = 0.0
        if self._tokens < 1:
            if not self._per_s:
                return None
            wait = (1 - self._tokens) / self._per_s
            if wait > patience_s:
                return None
        self._tokens -= 1
        return wait

    def _accrue(self, now: float) -> None:
        if self._at is None:
            self._at = now
        passed = max(0.0, now - self._at)
        self._at += passed
        self._add(passed * self._per_s)

    def _add(self, tokens: float) -> None:
        self._tokens = min(_MOST_TOKENS, self._tokens + tokens)

    def __repr__(self) -> str:
        return f"<Budget {self._tokens:.1f} retries, +{self._per_call:.2g} a call, +{self._per_s:g}/s>"
