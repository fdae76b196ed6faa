"""HTTP statuses that are no answer, as failures; for REST and GraphQL.

| status | failure |
|---|---|
| 3xx | rejected, unless it is followed, see `rest.redirects`; `details` has the `location`, cut to 2,000 characters |
| 401, 403 | auth |
| 408, 425 | unavailable: the service says that it did not take the request, and to send it again (RFC 9110, 15.5.9; \
RFC 8470, 5.2) |
| 429 | rate limited |
| other 4xx | rejected |
| 502, 503, 504 | unavailable |
| other 5xx, and what is no status at all (RFC 9110, 15: treat it as 5xx) | fault |
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from time import time
from typing import Any

from gateway.errors import (
    Delivery,
    InvalidReplyError,
    RateLimitedError,
    ServiceAuthError,
    ServiceError,
    ServiceFaultError,
    ServiceRejectedError,
    ServiceUnavailableError,
)
from gateway.outcome import Failure

__all__ = ["failure_of_status", "is_answer", "retry_after_s"]

_BY_STATUS: Mapping[int, type[ServiceError]] = {
    401: ServiceAuthError,
    403: ServiceAuthError,
    408: ServiceUnavailableError,
    425: ServiceUnavailableError,
    429: RateLimitedError,
    502: ServiceUnavailableError,
    503: ServiceUnavailableError,
    504: ServiceUnavailableError,
}


#: Of the address that a redirect points to, what is kept and what is shown.
_MAX_LOCATION = 2000
_MAX_SHOWN = 200
#: RFC 3986, section 3.2: what comes before the `@` of an authority.
_USERINFO = re.compile(r"\A([^/]*//)[^/]*@")


def is_answer(status: int) -> bool:
    """Whether the service answered yes: 2xx, or 304 to a call that asked for it with a condition."""
    return 200 <= status < 300 or status == 304


def failure_of_status(
    status: int, headers: Mapping[str, str], details: Any, *, unfollowed: str = "redirects are not followed"
) -> Failure:
    """The failure of a status that is no answer.

    Args:
        status: of the reply.
        headers: of the reply, names in lower case.
        details: what its body says.
        unfollowed: of a redirect, why it ends the call.
    """
    if status < 200:
        error: type[ServiceError] = InvalidReplyError
        message = f"answered {status}, which ends no call"
    else:
        error = _BY_STATUS.get(status) or (ServiceRejectedError if status < 500 else ServiceFaultError)
        message = f"answered {status}{_phrase(status)}"
    if 300 <= status < 400:
        location = headers.get("location")
        details = {"location": location if location is None else location[:_MAX_LOCATION]}
        message += f", a redirect {_where(location)}; {unfollowed}"
    return Failure(
        error=error,
        message=message,
        delivery=Delivery.ANSWERED,
        status=status,
        details=details,
        retry_after_s=retry_after_s(headers, limited=status == 429),
    )


def retry_after_s(headers: Mapping[str, str], *, limited: bool, now: float | None = None) -> float | None:
    """When the service wants to be asked again, in seconds from now, at least 0; None if it does not say, or not so
    that it can be read.

    `Retry-After` counts first: seconds, or a date (RFC 9110, section 10.2.3), which is compared with the reply's own
    `Date` where there is one, so that no clock but the service's matters. Then `RateLimit-Reset`, in seconds
    (draft-ietf-httpapi-ratelimit-headers-07).

    Args:
        headers: of the reply, names in lower case.
        limited: the reply says that a limit is reached. Many services send `RateLimit-Reset` with every reply, and
            where there is quota left it asks for nothing.
        now: Unix time; the clock by default.
    """
    said = headers.get("retry-after", "").strip()
    if _is_number(said):
        return float(said)
    if said:
        moment = _date(said)
        if moment is not None:
            answered = _date(headers.get("date", ""))
            return max(0.0, moment - (answered or (time() if now is None else now)))
    reset = headers.get("ratelimit-reset", "").strip() if limited else ""
    return float(reset) if _is_number(reset) else None


def _is_number(text: str) -> bool:
    # Seconds of 31 years are no honest wait: that is a Unix time, and not what the header means.
    return text.isascii() and text.isdecimal() and len(text) <= 9


def _date(text: str) -> float | None:
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
    return _timestamp(moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC))


def _timestamp(moment: datetime) -> float | None:
    try:
        return moment.timestamp()
    except (ValueError, OverflowError):
        return None


def _where(location: str | None) -> str:
    """Where a redirect points, as far as a log may tell: credentials and signatures are left out."""
    if not location:
        return "without a location"
    address = _USERINFO.sub(r"\1", re.split(r"[?#]", location, maxsplit=1)[0])
    return f"to {address[:_MAX_SHOWN]!r}"


def _phrase(status: int) -> str:
    try:
        return f" {HTTPStatus(status).phrase}"
    except ValueError:
        return ""
