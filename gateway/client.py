"""The producer's side: calls go in here, and handles on their outcomes come out."""

import asyncio
import time
import uuid
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from types import TracebackType
from typing import Any, Self

from celery import Celery, Signature

from gateway.broker import BROKER_ERRORS, make_app
from gateway.call import Call, GraphQLCall, GrpcCall, RestCall
from gateway.catalogue import Catalogue
from gateway.codec import TASK, encode
from gateway.envelope import DEFAULT_DEADLINE_S, VERSION, Envelope, check_deadline, check_id
from gateway.errors import GatewayUnavailableError, InvalidCallError
from gateway.pending import PendingCall
from gateway.publisher import Message, Publisher
from gateway.reference import uses_previous
from gateway.results import Results
from gateway.routing import FRONT_QUEUE, describe, display_name, queue_of
from gateway.settings import Settings
from gateway.waiter import Waiter

__all__ = ["Gateway"]


class Gateway:
    """Enqueues calls and gives handles on their outcomes. Safe to share between threads, and usable after a fork.

    Args:
        settings: where broker and results are, and who asks.
        catalogue: refuses unknown services at `submit`, and gives each service its own queue. Without one the workers
            tell, and all calls share the front queue.
    """

    def __init__(self, settings: Settings, catalogue: Catalogue | None = None) -> None:
        self.settings = settings
        self.catalogue = catalogue
        self.celery: Celery = make_app(settings)
        self._publisher = Publisher(self.celery)
        self._results = Results(self.celery, settings.result_url)
        self._waiter = Waiter(settings.result_url, self._results.key)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Self:
        """A gateway as the environment says, see `Settings.from_env`.

        Raises:
            SettingsError: a variable is missing or wrong.
            CatalogueError: the catalogue file is wrong.
        """
        settings = Settings.from_env(environ)
        return cls(settings, Catalogue.load(settings.config) if settings.config else None)

    def submit(
        self,
        call: Call,
        *,
        correlation_id: str | None = None,
        deadline: float = DEFAULT_DEADLINE_S,
        idempotency_key: str | None = None,
        request_id: str | None = None,
        traceparent: str | None = None,
    ) -> PendingCall:
        """Enqueue a call.

        Args:
            call: what is asked.
            correlation_id: ties the call to what it belongs to, across services; made if absent.
            deadline: seconds from now until nobody waits any more.
            idempotency_key: makes the call safe to repeat; the service sees it on every attempt.
            request_id: of the first attempt; made if absent.
            traceparent: W3C trace context to go on with.

        Raises:
            InvalidCallError, UnknownServiceError: the call is wrong; names field and cure. Nothing was enqueued.
            GatewayUnavailableError: the broker or the result store does not answer; `delivery` says whether the call
                may have been enqueued.
        """
        (pending,) = self.submit_many(
            [call],
            correlation_id=correlation_id,
            deadline=deadline,
            idempotency_key=idempotency_key,
            request_id=request_id,
            traceparent=traceparent,
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
    ) -> list[PendingCall]:
        """Enqueue many calls in one round of network; see `submit`.

        All are checked before the first is enqueued. Without `correlation_id` each gets its own. `idempotency_key` and
        `request_id` name one call, so they are refused with several.
        """
        calls = list(calls)
        if len(calls) > 1 and (idempotency_key is not None or request_id is not None):
            field = "idempotency_key" if idempotency_key is not None else "request_id"
            cure = "submit the calls one by one"
            raise InvalidCallError(f"{field}: it names one call, not {len(calls)}; {cure}", field=field, cure=cure)
        messages = [
            self._prepare(
                call,
                correlation_id=correlation_id,
                deadline=deadline,
                idempotency_key=idempotency_key,
                request_id=request_id,
                traceparent=traceparent,
            )
            for call in calls
        ]
        if messages:
            # The record first: a call that is enqueued can be asked for.
            self._results.record(messages)
            self._publisher.send(messages)
        return [self._handle(message.call_id, message.deadline_at) for message in messages]

    async def asubmit(self, call: Call, **options: Any) -> PendingCall:
        """`submit` without blocking the event loop, for the same arguments."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, lambda: self.submit(call, **options))

    async def asubmit_many(self, calls: Iterable[Call], **options: Any) -> list[PendingCall]:
        """`submit_many` without blocking the event loop, for the same arguments."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, lambda: self.submit_many(calls, **options))

    def signature(
        self,
        call: Call,
        *,
        correlation_id: str | None = None,
        deadline: float = DEFAULT_DEADLINE_S,
        idempotency_key: str | None = None,
    ) -> "Signature[Any]":
        """The call as a Celery signature, for chain, group and chord, with `link` and `link_error`.

        `previous("data.user.id")` in the call stands for a value of the result of the step before. The deadline counts
        from when the step is enqueued. The task's value is the reply as a dict with the names of `gateway.Reply`.

        Raises:
            InvalidCallError, UnknownServiceError: the call is wrong; names the field and the cure.
        """
        check_deadline("deadline", deadline)
        self._check(call)
        envelope = Envelope(
            version=VERSION,
            call=call,
            correlation_id=correlation_id or _new_id(),
            deadline_s=float(deadline),
            idempotency_key=idempotency_key,
            caller=self.settings.caller,
            uses_previous=uses_previous(call),
        )
        kwargs = encode(envelope)
        return self.celery.signature(TASK, kwargs=kwargs, **self._options(call, kwargs, envelope))

    def pending(self, call_id: str) -> PendingCall:
        """A handle on a call that was submitted elsewhere or earlier, by its id. No round trip."""
        check_id("call_id", call_id)
        return self._handle(call_id, None)

    def close(self) -> None:
        """Give back connections and threads. Handles of this gateway can wait no longer."""
        self._waiter.close()
        if "_threads" in self.__dict__:
            self._threads.shutdown(wait=False)
        self._results.close()
        self.celery.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        services = "no catalogue" if self.catalogue is None else f"{len(self.catalogue.services)} services"
        return f"<Gateway {services} {self.settings!r}>"

    @cached_property
    def _threads(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(max_workers=4, thread_name_prefix="gateway-submit")

    def _handle(self, call_id: str, deadline_at: float | None) -> PendingCall:
        return PendingCall(call_id, deadline_at, results=self._results, waiter=self._waiter, revoke=self._revoke)

    def _revoke(self, call_id: str) -> None:
        """Tell the worker that runs the call, if there is one."""
        try:
            self.celery.control.revoke(call_id, terminate=True)
        except BROKER_ERRORS as error:
            raise GatewayUnavailableError(
                f"the broker does not answer ({type(error).__name__}: {error}); is it running and reachable?",
                call_id=call_id,
            ) from error

    def _check(self, call: object) -> None:
        if not isinstance(call, RestCall | GrpcCall | GraphQLCall):
            cure = "pass a RestCall, a GrpcCall or a GraphQLCall"
            raise InvalidCallError(f"call: {type(call).__name__} is not a call; {cure}", field="call", cure=cure)
        if self.catalogue is not None:
            self.catalogue.service_for(call)

    def _prepare(
        self,
        call: Call,
        *,
        correlation_id: str | None,
        deadline: float,
        idempotency_key: str | None,
        request_id: str | None,
        traceparent: str | None,
    ) -> Message:
        check_deadline("deadline", deadline)
        self._check(call)
        if uses_previous(call):
            cure = "pass gateway.signature(call) to a chain"
            raise InvalidCallError(
                f"call: it refers to the result of a step before it; {cure}", field="call", cure=cure
            )
        now = time.time()
        envelope = Envelope(
            version=VERSION,
            call=call,
            correlation_id=correlation_id or _new_id(),
            request_id=request_id or _new_id(),
            deadline_at=now + deadline,
            sent_at=now,
            idempotency_key=idempotency_key,
            caller=self.settings.caller,
            traceparent=traceparent,
        )
        kwargs = encode(envelope)
        return Message(str(uuid.uuid4()), kwargs, self._options(call, kwargs, envelope), now + deadline)

    def _options(self, call: Call, kwargs: dict[str, Any], envelope: Envelope) -> dict[str, Any]:
        """How Celery sends it: queue, what operators see, and the ids as headers of the message."""
        headers = {
            "x-correlation-id": envelope.correlation_id,
            "x-request-id": envelope.request_id,
            "traceparent": envelope.traceparent,
        }
        return {
            "queue": FRONT_QUEUE if self.catalogue is None else queue_of(call.service),
            "shadow": display_name(call),
            # The payload of a call is shown nowhere.
            "argsrepr": "",
            "kwargsrepr": describe(kwargs)[1],
            "headers": {name: value for name, value in headers.items() if value is not None},
        }


def _new_id() -> str:
    return uuid.uuid4().hex
