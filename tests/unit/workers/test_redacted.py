"""What came of an attempt is told without secrets, whatever its shape."""

from typing import Any

import pytest

from gateway.errors import Delivery, ServiceFaultError
from gateway.outcome import Failure
from gateway.redaction import REDACTED, SECRETS
from workers.attempt import Answer
from workers.redacted import redacted

SECRETS.register("redacted-canary-1")


def failed(details: Any) -> Failure:
    message = "500 redacted-canary-1"
    return Failure(error=ServiceFaultError, message=message, delivery=Delivery.ANSWERED, details=details)


@pytest.mark.parametrize("details", [None, {"said": "redacted-canary-1"}, "text"])
def test_failures(details: Any) -> None:
    found = redacted(failed(details))
    assert found.message == f"500 {REDACTED}"
    assert "canary" not in repr(found)


def test_details_that_are_too_deep_are_left_out() -> None:
    details: Any = "redacted-canary-1"
    for _ in range(5000):
        details = [details]
    found = redacted(failed(details))
    assert (found.message, found.details) == (f"500 {REDACTED}", REDACTED)


def test_answers_and_sealed_values() -> None:
    found = redacted(
        Answer(status=200, headers={"a": "sealed-value-1"}, data=b"\xffsealed-value-1"), ["sealed-value-1"]
    )
    assert (found.headers, found.data) == ({"a": REDACTED}, b"\xff" + REDACTED.encode())
