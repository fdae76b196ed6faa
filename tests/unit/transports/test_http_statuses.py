"""HTTP statuses as failures, and when a service wants to be asked again."""

import pytest

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
from workers.transports.statuses import failure_of_status, is_answer, retry_after_s

NOW = 784111777.0  # Sun, 06 Nov 1994 08:49:37 GMT


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (101, InvalidReplyError),
        (300, ServiceRejectedError),
        (307, ServiceRejectedError),
        (400, ServiceRejectedError),
        (401, ServiceAuthError),
        (403, ServiceAuthError),
        (404, ServiceRejectedError),
        (408, ServiceUnavailableError),
        (409, ServiceRejectedError),
        (425, ServiceUnavailableError),
        (429, RateLimitedError),
        (499, ServiceRejectedError),
        (500, ServiceFaultError),
        (501, ServiceFaultError),
        (502, ServiceUnavailableError),
        (503, ServiceUnavailableError),
        (504, ServiceUnavailableError),
        (599, ServiceFaultError),
        (999, ServiceFaultError),
    ],
)
def test_a_status_is_its_failure(status: int, error: type[ServiceError]) -> None:
    failure = failure_of_status(status, {}, {"said": "no"})
    assert failure.error is error
    assert failure.status == status
    assert failure.delivery is Delivery.ANSWERED
    assert str(status) in failure.message


def test_answers() -> None:
    assert [status for status in range(100, 600) if is_answer(status)] == [*range(200, 300), 304]


def test_a_redirect_tells_where_to() -> None:
    failure = failure_of_status(302, {"location": "https://elsewhere.example/"}, "moved")
    assert failure.details == {"location": "https://elsewhere.example/"}
    assert "not followed" in failure.message


@pytest.mark.parametrize(
    ("location", "shown"),
    [
        ("https://u:p@files.example/a/b?X-Signature=s3cret#frag", "'https://files.example/a/b'"),
        ("//u@files.example/?s3cret", "'//files.example/'"),
        ("/login?next=s3cret", "'/login'"),
        ("/@me#s3cret", "'/@me'"),
        ("https://files.example/" + "x" * 8000, "'https://files.example/" + "x" * 178 + "'"),
        ("?s3cret", "''"),
    ],
)
def test_a_redirect_tells_logs_no_signature(location: str, shown: str) -> None:
    failure = failure_of_status(302, {"location": location}, None)
    assert failure.message == f"answered 302 Found, a redirect to {shown}; redirects are not followed"
    assert failure.details == {"location": location[:2000]}


def test_a_redirect_to_nowhere() -> None:
    failure = failure_of_status(302, {}, None)
    assert failure.message == "answered 302 Found, a redirect without a location; redirects are not followed"
    assert failure.details == {"location": None}


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "120"}, 120.0),
        ({"retry-after": " 0 "}, 0.0),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "1.5"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "٣"}, None),
        ({"retry-after": "Sun, 06 Nov 1994 08:50:37 GMT"}, 60.0),
        ({"retry-after": "Sunday, 06-Nov-94 08:50:37 GMT"}, 60.0),
        ({"retry-after": "Sun Nov  6 08:50:37 1994"}, 60.0),
        ({"retry-after": "Sun, 06 Nov 1994 08:40:00 GMT"}, 0.0),
        ({"retry-after": "Sun, 99 Nov 1994 08:40:00 GMT"}, None),
        ({"retry-after": "Sun, 06 Nov 1994 08:50:37 GMT", "date": "Sun, 06 Nov 1994 08:50:07 GMT"}, 30.0),
        ({"ratelimit-reset": "7"}, 7.0),
        ({"ratelimit-reset": "1784111777"}, None),
        ({"retry-after": "3", "ratelimit-reset": "7"}, 3.0),
        ({"retry-after": "soon", "ratelimit-reset": "7"}, 7.0),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_s(headers, limited=True, now=NOW) == seconds


def test_the_failure_has_it() -> None:
    assert failure_of_status(503, {"retry-after": "4"}, None).retry_after_s == 4.0


def test_the_reset_of_a_quota_that_is_not_used_up_asks_for_nothing() -> None:
    headers = {"ratelimit-remaining": "4999", "ratelimit-reset": "3600"}
    assert failure_of_status(502, headers, None).retry_after_s is None
    assert failure_of_status(503, headers, None).retry_after_s is None
    assert failure_of_status(429, headers, None).retry_after_s == 3600
    assert failure_of_status(503, {**headers, "retry-after": "4"}, None).retry_after_s == 4
