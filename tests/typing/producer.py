"""What a producer's type checker sees. It is checked and never run; every ignored error has to be one."""

from typing import Any, assert_type

from celery import Signature

import gateway as package
from gateway import CallState, Gateway, PendingCall, Reply, RestCall
from gateway.errors import ServiceError


def sync(gateway: Gateway, call: RestCall) -> None:
    assert_type(gateway.submit(call, deadline=3, tracestate="a=1"), PendingCall)
    assert_type(gateway.submit_many([call], correlation_id=None), list[PendingCall])
    assert_type(gateway.submit(call).result(), Reply)
    assert_type(gateway.submit(call).state, CallState)
    assert_type(gateway.signature(call), Signature[Any])
    gateway.submit(call, dealine=3)  # type: ignore[call-arg]
    gateway.submit("GET /")  # type: ignore[arg-type]
    gateway.submit(call, 3)  # type: ignore[call-arg,arg-type]


async def unblocking(gateway: Gateway, call: RestCall) -> None:
    assert_type(await gateway.asubmit(call, deadline=3, tracestate="a=1"), PendingCall)
    assert_type(await gateway.asubmit_many([call], idempotency_key=None), list[PendingCall])
    assert_type(await (await gateway.asubmit(call)), Reply)
    await gateway.asubmit(call, dealine=3)  # type: ignore[call-arg]
    await gateway.asubmit(call, deadline="3")  # type: ignore[arg-type]
    await gateway.asubmit_many([call], dealine=3)  # type: ignore[call-arg]
    await gateway.asubmit_many([call], traceparent=1)  # type: ignore[arg-type]


def errors(error: package.errors.ServiceError) -> ServiceError:
    return error
