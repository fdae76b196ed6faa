"""How a call ends: a reply or a failure, both plain values.

Inside the gateway a failure is never raised. It becomes an exception in one place, `Failure.to_error`, when Celery
stores it or when a producer asks for the result.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.errors import Delivery, ServiceError
from gateway.reply import Reply, Timing

__all__ = ["Failure", "Outcome"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A call, or one attempt of it, that did not end with a reply.

    Attributes:
        error: the class that `to_error` builds.
        message: one line for people, without service and operation, which `to_error` puts in front.
        delivery: whether the service may have acted.
        status: HTTP status or gRPC status code's name, if the service answered.
        details: what the service said; plain JSON.
        retry_after_s: when it wants to be asked again, in seconds from now.
        extra: fields that only this error class has (`phase`, `errors`, `field`, …).
        timing: where the time of the attempt went.
        repeatable: False if the same attempt would end the same way, or the service forbade another.
        incomplete: the service answered, and its answer broke off.
    """

    error: type[ServiceError]
    message: str
    delivery: Delivery
    status: int | str | None = None
    details: Any = None
    retry_after_s: float | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    timing: Timing | None = None
    repeatable: bool = True
    incomplete: bool = False

    def to_error(self, **identity: Any) -> ServiceError:
        """The exception of this failure.

        Args:
            identity: `service`, `operation`, `attempts`, `correlation_id`, `request_id`, `call_id`.
        """
        subject = " ".join(str(identity[name]) for name in ("service", "operation") if identity.get(name))
        return self.error(
            f"{subject}: {self.message}" if subject else self.message,
            delivery=self.delivery,
            status=self.status,
            details=self.details,
            retry_after_s=self.retry_after_s,
            **self.extra,
            **identity,
        )


Outcome = Reply | Failure
