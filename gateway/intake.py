"""From a call to the message that is enqueued: everything is checked and encoded here, before anything is sent."""

import os
import uuid
from collections.abc import Mapping
from typing import Any, NamedTuple, TypedDict

from kombu.serialization import dumps

from gateway import message_headers
from gateway.call import Call, GraphQLCall, GrpcCall, RestCall
from gateway.call_amqp import Signer
from gateway.catalogue import Catalogue
from gateway.codec import encode
from gateway.envelope import VERSION, Envelope, check_deadline
from gateway.errors import InvalidCallError
from gateway.producer_span import begin
from gateway.publisher import Message
from gateway.reference import uses_previous
from gateway.routing import FRONT_QUEUE, describe, display_name, queue_of
from gateway.sealing import Seal, check_sealed
from gateway.settings import Settings
from gateway.signing_key import KeyProblem

__all__ = ["Draft", "Intake", "SubmitOptions"]


class SubmitOptions(TypedDict, total=False):
    """What can be said about a call at submit; see `Gateway.submit`."""

    correlation_id: str | None
    deadline: float
    idempotency_key: str | None
    request_id: str | None
    traceparent: str | None
    tracestate: str | None
    sealed: Mapping[str, str] | None


class Draft(NamedTuple):
    """A checked and encoded call that lacks its times: they count from when all calls of a submit are found right.

    Attributes:
        call: what is asked.
        deadline_s: seconds from when it is enqueued until nobody waits any more.
        kwargs: the task's keyword arguments, without times.
        options: how Celery sends it, see `Message`.
    """

    call: Call
    deadline_s: float
    kwargs: dict[str, Any]
    options: dict[str, Any]

    def at(self, now: float) -> Message:
        """The message of a new call, enqueued now; fleet time, see `gateway.clock`."""
        return self.again(str(uuid.uuid4()), now, now + self.deadline_s)

    def again(self, call_id: str, now: float, deadline_at: float) -> Message:
        """The message of a call that has its id and its deadline already."""
        return Message(call_id, {**self.kwargs, "deadline_at": deadline_at, "sent_at": now}, self.options, deadline_at)


class Intake:
    """Makes drafts of messages from calls. No I/O.

    Args:
        settings: who asks, and signs.
        catalogue: refuses unknown services, and gives each service its own queue.
        environ: has what the catalogue names for producers, the key to seal with; this process's by default.
    """

    def __init__(
        self, settings: Settings, catalogue: Catalogue | None, environ: Mapping[str, str] | None = None
    ) -> None:
        self._environ = os.environ if environ is None else environ
        self._settings = settings
        self._catalogue = catalogue
        self._seal: Seal | None = None
        self._signer = Signer(settings.signing_keys)

    def draft(
        self,
        call: Call,
        *,
        correlation_id: str | None,
        deadline: float,
        idempotency_key: str | None,
        request_id: str | None,
        traceparent: str | None,
        tracestate: str | None,
        sealed: Mapping[str, str] | None = None,
    ) -> Draft:
        """A message that has all but its times.

        Raises:
            InvalidCallError, UnknownServiceError: the call is wrong; names the field and the cure.
        """
        check_deadline("deadline", deadline)
        self._check(call)
        if uses_previous(call):
            raise InvalidCallError.because(
                "call", "it refers to the result of a step before it", "pass gateway.signature(call) to a chain"
            )
        if traceparent is None:
            traceparent, tracestate = begin(call, correlation_id)
        envelope = Envelope(
            version=VERSION,
            call=call,
            correlation_id=_new_id() if correlation_id is None else correlation_id,
            request_id=_new_id() if request_id is None else request_id,
            idempotency_key=idempotency_key,
            caller=self._settings.caller,
            sealed=self._sealed(sealed, call),
            traceparent=traceparent,
            tracestate=tracestate,
        )
        kwargs = _encoded(envelope)
        options = self._options(call, kwargs, envelope)
        options["headers"][message_headers.RECORDED] = 1
        return Draft(call, float(deadline), kwargs, options)

    def step(
        self,
        call: Call,
        *,
        correlation_id: str | None,
        deadline: float,
        idempotency_key: str | None,
        sealed: Mapping[str, str] | None = None,
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Keyword arguments and options of a signature, with a deadline that counts from when it is enqueued.

        Raises:
            InvalidCallError, UnknownServiceError: the call is wrong; names the field and the cure.
        """
        check_deadline("deadline", deadline)
        self._check(call)
        traceparent, tracestate = begin(call, correlation_id)
        envelope = Envelope(
            version=VERSION,
            call=call,
            correlation_id=_new_id() if correlation_id is None else correlation_id,
            traceparent=traceparent,
            tracestate=tracestate,
            deadline_s=float(deadline),
            idempotency_key=idempotency_key,
            caller=self._settings.caller,
            sealed=self._sealed(sealed, call),
            uses_previous=uses_previous(call),
        )
        kwargs = _encoded(envelope)
        options = self._options(call, kwargs, envelope)
        # Another app may enqueue it, which cannot sign.
        return self._signer.step(kwargs) if self._signer.owns(kwargs) else kwargs, options

    def _sealed(self, values: Mapping[str, str] | None, call: Call) -> str | None:
        """Header values that workers alone can read.

        Raises:
            InvalidCallError: they are not right, or there is no key to seal them with.
        """
        if values is None:
            return None
        check_sealed(values)
        reference = None if self._catalogue is None else self._catalogue.sealing.public
        if reference is None:
            raise InvalidCallError.because(
                "sealed", "there is no key to seal it with", "set sealing.public in the catalogue, see docs/callers.md"
            )
        if self._seal is None:
            try:
                self._seal = Seal(reference, self._environ)
            except KeyProblem as problem:
                raise InvalidCallError.because("sealed", f"sealing.public is {problem}", "then submit again") from None
        return self._seal.close(values, call, self._settings.caller)

    def _check(self, call: object) -> None:
        if not isinstance(call, RestCall | GrpcCall | GraphQLCall):
            raise InvalidCallError.because(
                "call", f"{type(call).__name__} is not a call", "pass a RestCall, a GrpcCall or a GraphQLCall"
            )
        if self._catalogue is not None:
            self._catalogue.service_for(call)

    def _options(self, call: Call, kwargs: dict[str, Any], envelope: Envelope) -> dict[str, Any]:
        """How Celery sends it: queue, what operators see, and the ids as headers of the message."""
        headers = {
            "x-correlation-id": envelope.correlation_id,
            "x-request-id": envelope.request_id,
            "traceparent": envelope.traceparent,
            "tracestate": envelope.tracestate,
        }
        return {
            "queue": FRONT_QUEUE if self._catalogue is None else queue_of(call.service),
            "shadow": display_name(call),
            # The payload of a call is shown nowhere.
            "argsrepr": "",
            "kwargsrepr": describe(kwargs)[1],
            "headers": {name: value for name, value in headers.items() if value is not None},
        }


def _encoded(envelope: Envelope) -> dict[str, Any]:
    """The task's keyword arguments. A call that was changed after it was made may hold what is not JSON."""
    try:
        kwargs = encode(envelope)
        dumps(kwargs, serializer="json")
    except InvalidCallError:
        raise
    except Exception as error:
        raise InvalidCallError.because(
            "call",
            f"it cannot be encoded ({type(error).__name__}: {error})",
            "pass plain JSON, and leave it as it is once the call is made",
        ) from error
    return kwargs


def _new_id() -> str:
    return uuid.uuid4().hex
