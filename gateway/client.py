"""The producer's side: calls go in here, and handles on their outcomes come out."""

import asyncio
import threading
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self, Unpack

from celery import Celery, Signature

from gateway.broker import BROKER_ERRORS, close_app, make_app, renew_after_fork
from gateway.call import Call
from gateway.catalogue import Catalogue
from gateway.clock import FleetClock
from gateway.codec import TASK
from gateway.envelope import DEFAULT_DEADLINE_S, check_id
from gateway.errors import Delivery, GatewayUnavailableError, InvalidCallError
from gateway.forks import renew_in_children
from gateway.idempotency import Claim
from gateway.intake import Intake, SubmitOptions
from gateway.pending import PendingCall
from gateway.publisher import Publisher
from gateway.queue_bound import QueueBound
from gateway.results import Results
from gateway.settings import Settings
from gateway.single_flight import SingleFlight
from gateway.waiter import Waiter

__all__ = ["SUBMIT_S", "Gateway"]

#: Seconds that `asubmit` takes at most.
SUBMIT_S = 20.0


class Gateway:
    """Enqueues calls and gives handles on their outcomes. Safe to share between threads, and usable after a fork.

    Args:
        settings: where broker and results are, and who asks.
        catalogue: refuses unknown services at `submit`, and gives each service its own queue. Without one the workers
            tell, and all calls share the front queue.
        clock: tells the time that deadlines are in, learned from the result store; see `gateway.clock`.
        environ: has the key that values are sealed with, see `Catalogue.sealing`; this process's by default.
    """

    def __init__(
        self,
        settings: Settings,
        catalogue: Catalogue | None = None,
        *,
        clock: FleetClock | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.settings = settings
        self.catalogue = catalogue
        self.celery: Celery = make_app(settings)
        self._intake = Intake(settings, catalogue, environ)
        self._publisher = Publisher(self.celery)
        self._results = Results(self.celery, settings.result_url, FleetClock() if clock is None else clock)
        self._bound = QueueBound({} if catalogue is None else catalogue.services, self._waiting)
        self._flights = SingleFlight(self._results, self._publisher, self._bound)
        self._waiter = Waiter(settings.result_url, self._results.key, is_final=self._results.is_final)
        self._threads = _threads()
        self._closing = threading.Lock()
        self._closed = False
        renew_in_children(self)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Self:
        """A gateway as the environment says, see `Settings.from_env`.

        Raises:
            SettingsError: a variable is missing or wrong.
            CatalogueError: the catalogue file is wrong.
        """
        settings = Settings.from_env(environ)
        return cls(settings, Catalogue.load(settings.config) if settings.config else None, environ=environ)

    def submit(
        self,
        call: Call,
        *,
        correlation_id: str | None = None,
        deadline: float = DEFAULT_DEADLINE_S,
        idempotency_key: str | None = None,
        request_id: str | None = None,
        traceparent: str | None = None,
        tracestate: str | None = None,
        sealed: Mapping[str, str] | None = None,
    ) -> PendingCall:
        """Enqueue a call.

        Args:
            call: what is asked.
            correlation_id: ties the call to what it belongs to, across services; made if absent.
            deadline: seconds from now until nobody waits any more.
            idempotency_key: makes the call safe to repeat; the service sees it on every attempt. Submits of one caller
                with the same key share one call: its deadline, its ids and its outcome. See the message contract.
            request_id: of the first attempt; made if absent.
            traceparent, tracestate: W3C trace context to go on with.
            sealed: header values of a user on whose behalf the call is made, such as
                `{"authorization": "Bearer …"}`. They are encrypted for the workers: neither the broker nor any result,
                log or page sees them.

        Raises:
            InvalidCallError, UnknownServiceError: the call is wrong, or its idempotency key was used for another;
                names field and cure. Nothing was enqueued.
            QueueFullError: too many calls of the service wait (`limit.queue`). Nothing was enqueued.
            GatewayUnavailableError: the broker or the result store does not answer; `delivery` says whether the call
                may have been enqueued.
            RuntimeError: the gateway is closed.
        """
        (pending,) = self.submit_many(
            [call],
            correlation_id=correlation_id,
            deadline=deadline,
            idempotency_key=idempotency_key,
            request_id=request_id,
            traceparent=traceparent,
            tracestate=tracestate,
            sealed=sealed,
        )
        return pending

    def submit_many(
        self,
        calls: Iterable[Call],
        *,
        correlation_id: str | None = None,
        deadline: float = DEFAULT_DEADLINE_S,
        idempotency_key: str | None = None,
        request_id: str | None = None,
        traceparent: str | None = None,
        tracestate: str | None = None,
        sealed: Mapping[str, str] | None = None,
    ) -> list[PendingCall]:
        """Enqueue many calls in one round of network; see `submit`.

        All are checked before the first is enqueued. Without `correlation_id` each gets its own. `idempotency_key` and
        `request_id` name one call, so they are refused with several.
        """
        self._check_open()
        if not isinstance(calls, Iterable):
            raise InvalidCallError.because(
                "calls", f"{type(calls).__name__} is not a list of calls", "pass a list, or use submit for one"
            )
        calls = list(calls)
        if len(calls) > 1 and (idempotency_key is not None or request_id is not None):
            field = "idempotency_key" if idempotency_key is not None else "request_id"
            raise InvalidCallError.because(field, f"it names one call, not {len(calls)}", "submit the calls one by one")
        # All of them first: what is wrong leaves no trace.
        drafts = [
            self._intake.draft(
                call,
                correlation_id=correlation_id,
                deadline=deadline,
                idempotency_key=idempotency_key,
                request_id=request_id,
                traceparent=traceparent,
                tracestate=tracestate,
                sealed=sealed,
            )
            for call in calls
        ]
        if not drafts:
            return []
        now = self._results.now()
        if idempotency_key is not None:
            claim = Claim.of(self.settings.caller, idempotency_key, drafts[0].call)
            return [self._handle(*self._flights.submit(drafts[0], claim, now))]
        self._bound.admit(draft.call.service for draft in drafts)
        messages = [draft.at(now) for draft in drafts]
        # The record before the message: a call that is enqueued can be asked for.
        self._results.record(messages)
        try:
            self._publisher.send(messages)
        except (GatewayUnavailableError, InvalidCallError) as error:
            if error.delivery is Delivery.NOT_SENT:
                self._results.forget(message.call_id for message in messages)
            raise
        return [self._handle(message.call_id, message.deadline_at) for message in messages]

    async def asubmit(self, call: Call, **options: Unpack[SubmitOptions]) -> PendingCall:
        """`submit` without blocking the event loop, for the same arguments, and within `SUBMIT_S`.

        Who cancels it loses the handle, not the call: it may be enqueued all the same. Where that matters, shield it,
        or pass an `idempotency_key` and submit again: that finds the call.
        """
        (pending,) = await self.asubmit_many([call], **options)
        return pending

    async def asubmit_many(self, calls: Iterable[Call], **options: Unpack[SubmitOptions]) -> list[PendingCall]:
        """`submit_many` without blocking the event loop, for the same arguments. See `asubmit` about cancelling."""
        self._check_open()
        work = self._threads.submit(self.submit_many, calls, **options)
        try:
            async with asyncio.timeout(SUBMIT_S) as timer:
                return await asyncio.wrap_future(work)
        except TimeoutError as late:
            if not timer.expired():
                raise
            # Behind others that wait for a broker which hangs, it may not even have begun.
            delivery = Delivery.NOT_SENT if work.cancelled() else Delivery.MAYBE_SENT
            raise GatewayUnavailableError(
                f"it was not enqueued within {SUBMIT_S:g} s; do broker and result store answer?", delivery=delivery
            ) from late

    def signature(
        self,
        call: Call,
        *,
        correlation_id: str | None = None,
        deadline: float = DEFAULT_DEADLINE_S,
        idempotency_key: str | None = None,
        sealed: Mapping[str, str] | None = None,
    ) -> "Signature[Any]":
        """The call as a Celery signature, for chain, group and chord, with `link` and `link_error`.

        `previous("data.user.id")` in the call stands for a value of the result of the step before. The deadline counts
        from when the step is enqueued or, where a Celery worker of another app enqueues it, from when one of ours
        receives it. The task's value is the reply as a dict with the names of `gateway.Reply`. An idempotency key is
        sent to the service; it does not make the step share another call's execution, as it does at `submit`.

        Raises:
            InvalidCallError, UnknownServiceError: the call is wrong; names the field and the cure.
            RuntimeError: the gateway is closed.
        """
        self._check_open()
        kwargs, options = self._intake.step(
            call, correlation_id=correlation_id, deadline=deadline, idempotency_key=idempotency_key, sealed=sealed
        )
        return self.celery.signature(TASK, kwargs=kwargs, **options)

    def pending(self, call_id: str) -> PendingCall:
        """A handle on a call that was submitted elsewhere or earlier, by its id. No round trip."""
        if call_id is None:
            raise InvalidCallError.because("call_id", "it is None", "pass `PendingCall.id`")
        check_id("call_id", call_id)
        return self._handle(call_id, None)

    def close(self) -> None:
        """Give back connections and threads, for good. A second time it does nothing.

        Whoever waits for a result is woken with a `RuntimeError`; `submit` and the handles of this gateway raise one
        from then on.
        """
        with self._closing:
            if self._closed:
                return
            self._closed = True
        self._waiter.close()
        self._threads.shutdown(wait=False)
        self._results.close()
        close_app(self.celery)

    def renew_after_fork(self) -> None:
        """In a forked child: leave threads, locks and connections to the parent. It is called by itself."""
        self._closing = threading.Lock()
        self._threads = _threads()
        self._bound.renew_after_fork()
        self._waiter.renew_after_fork()
        self._results.renew_after_fork()
        renew_after_fork(self.celery)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        services = "no catalogue" if self.catalogue is None else f"{len(self.catalogue.services)} services"
        return f"<Gateway {services} {self.settings!r}>"

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError("the gateway is closed; make a new one")

    def _handle(self, call_id: str, deadline_at: float | None) -> PendingCall:
        return PendingCall(call_id, deadline_at, results=self._results, waiter=self._waiter, revoke=self._revoke)

    def _waiting(self, queue: str, service: str | None) -> int:
        parked = 0 if service is None else self._results.parked(service)
        return self._publisher.waiting(queue) + parked

    def _revoke(self, call_id: str) -> None:
        """Tell the worker that runs the call, if there is one."""
        self._check_open()
        try:
            self.celery.control.revoke(call_id, terminate=True)
        except BROKER_ERRORS as error:
            raise GatewayUnavailableError(
                f"the broker does not answer ({type(error).__name__}: {error}); is it running and reachable?",
                call_id=call_id,
            ) from error


def _threads() -> ThreadPoolExecutor:
    """For `asubmit`; its threads start with the first one."""
    return ThreadPoolExecutor(max_workers=4, thread_name_prefix="gateway-submit")
