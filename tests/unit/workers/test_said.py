"""What is told of an error has nothing of what somebody sent, or of what a service said."""

import pytest

from gateway.errors import (
    Delivery,
    GraphQLError,
    InvalidCallError,
    ServiceError,
    ServiceRejectedError,
    ServiceTimeoutError,
)
from workers.said import said_of_error


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (InvalidCallError.because("json", "'canary' is no number", "pass one"), "json: it is not valid; pass one"),
        (InvalidCallError("it has canary in it"), "message: it is not valid"),
        (GraphQLError("no user canary", delivery=Delivery.ANSWERED, status=200), "the answer has errors"),
        (
            ServiceRejectedError("NOT_FOUND: no user canary", delivery=Delivery.ANSWERED, status="NOT_FOUND"),
            "NOT_FOUND",
        ),
        (ServiceTimeoutError("no answer within 3 s"), "no answer within 3 s"),
        (ServiceTimeoutError("a\nb\x1b[2J"), "a?b?[2J"),
        (ServiceTimeoutError("x" * 1000), "x" * 300),
    ],
)
def test_what_is_said(error: ServiceError, said: str) -> None:
    assert said_of_error(error) == said
