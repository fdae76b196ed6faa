"""A call that was accepted: where it is, and its outcome once it has one."""

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable, Generator
from typing import Any

from gateway.envelope import DEFAULT_DEADLINE_S
from gateway.errors import InvalidCallError, OutcomeUnknownError
from gateway.records import CallState
from gateway.reply import Reply
from gateway.results import Results, expired
from gateway.waiter import Waiter

__all__ = ["RESULT_MARGIN_S", "PendingCall"]

#: How long after its deadline a call's outcome is still awaited: where its worker died at the last moment, until
#: another one has taken it over (the dead one's lease, or the broker's patience) and has said what became of it.
RESULT_MARGIN_S = 15.0
_CLOSED = "the gateway was closed while a result was awaited"


class PendingCall:
    """A handle on an accepted call; `Gateway.submit` and `Gateway.pending` make it.

    Attributes:
        id: of the call, the Celery task's id. Keep it to ask from another process.
        deadline_at: when nobody waits any more; None if this process does not know it. A Unix time in seconds of the
            result store's clock, see `gateway.clock`, which this host's may differ from.
    """

    def __init__(
        self,
        call_id: str,
        deadline_at: float | None,
        *,
        results: Results,
        waiter: Waiter,
        revoke: Callable[[str], None],
    ) -> None:
        self.id = call_id
        self.deadline_at = deadline_at
        self._results = results
        self._waiter = waiter
        self._revoke = revoke

    @property
    def state(self) -> CallState:
        """Where the call is now. One round trip.

        Raises:
            GatewayUnavailableError: the result store does not answer.
        """
        return self._results.state(self.id)

    def result(self, timeout: float | None = None) -> Reply:
        """Wait for the outcome.

        Args:
            timeout: seconds to wait at most; by default until the call's deadline and `RESULT_MARGIN_S` more. Where the
                deadline is not written down, the default deadline takes its place.

        Raises:
            ServiceError: what the call ended with, see `gateway.errors`.
            OutcomeUnknownError: no outcome came by its deadline and the margin, it has expired since, or nothing is
                known of the call.
            TimeoutError: `timeout` passed first; the call goes on and can be asked again. With 0 an outcome that is
                there is returned, and nothing is waited for.
            GatewayUnavailableError: the result store does not answer.
            RuntimeError: the gateway is closed, or was while this waited.
        """
        wait_s = self._patience(timeout)
        future = self._waiter.watch(self.id)
        try:
            payload = future.result(wait_s)
        except concurrent.futures.TimeoutError:
            payload = self._last_look(timeout, wait_s)
        except concurrent.futures.CancelledError:
            raise RuntimeError(_CLOSED) from None
        finally:
            future.cancel()
        return self._results.outcome(self.id, payload)

    async def aresult(self, timeout: float | None = None) -> Reply:
        """`result` without blocking the event loop."""
        loop = asyncio.get_running_loop()
        wait_s = (
            self._patience(timeout)
            if self.deadline_at or timeout is not None
            else await loop.run_in_executor(None, self._patience, timeout)
        )
        future = self._waiter.watch(self.id)
        try:
            async with asyncio.timeout(wait_s):
                payload = await asyncio.wrap_future(future)
        except TimeoutError:
            payload = await loop.run_in_executor(None, self._last_look, timeout, wait_s)
        except asyncio.CancelledError:
            # Of the future, by `Gateway.close`, or of this task, by its owner?
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            raise RuntimeError(_CLOSED) from None
        finally:
            future.cancel()
        return self._results.outcome(self.id, payload)

    def __await__(self) -> Generator[Any, None, Reply]:
        return self.aresult().__await__()

    def cancel(self) -> bool:
        """Cancel the call, wherever it is. It ends as `CallCancelledError`.

        A call that waits will not be sent, and one that is parked not again. One that runs is stopped in its worker.
        Whether the service may have acted on an attempt is told by the error's `delivery`.

        Returns:
            False if the call has an outcome already.

        Raises:
            GatewayUnavailableError: the result store or the broker does not answer.
        """
        # The record stops a call that waits; a worker that runs it is told directly.
        if not self._results.mark_cancelled(self.id):
            return False
        self._revoke(self.id)
        return True

    def _patience(self, timeout: float | None) -> float:
        if timeout is not None:
            if isinstance(timeout, bool) or not isinstance(timeout, int | float) or timeout != timeout:
                raise InvalidCallError.because("timeout", f"{timeout!r} is not a number of seconds", "pass e.g. 15.0")
            return max(0.0, min(timeout, threading.TIMEOUT_MAX))
        if self.deadline_at is None:
            self.deadline_at = self._results.deadline_of(self.id)
        if self.deadline_at is None:
            return DEFAULT_DEADLINE_S + RESULT_MARGIN_S
        return max(0.0, self.deadline_at - self._results.clock.now()) + RESULT_MARGIN_S

    def _last_look(self, timeout: float | None, waited_s: float) -> bytes:
        """What is stored after all: a notification may be lost, and patience may be none."""
        payload, state = self._results.look(self.id)
        if payload is not None:
            return payload
        if state is CallState.EXPIRED:
            raise expired(self.id)
        if timeout is not None:
            raise TimeoutError(f"call {self.id} has no outcome after {timeout:g} s; it is {state.value}")
        since = f"after {waited_s:g} s" if self.deadline_at is None else f"{RESULT_MARGIN_S:g} s after its deadline"
        raise OutcomeUnknownError(
            f"call {self.id} has no outcome {since}; it is {state.value}."
            " Does a worker listen on its queue, and can it reach the result store?",
            call_id=self.id,
        )

    def __repr__(self) -> str:
        return f"<PendingCall {self.id}>"
