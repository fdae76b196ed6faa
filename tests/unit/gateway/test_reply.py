"""A reply is the same after its way through Celery's JSON."""

from typing import Any

import pytest
from kombu.utils.json import dumps, loads

from gateway import Reply, Timing


def reply(data: Any, **fields: Any) -> Reply:
    return Reply(
        data=data,
        status=200,
        headers={"content-type": "application/json"},
        attempts=1,
        timing=Timing(total=0.034),
        correlation_id="order-42",
        request_id="r",
        service="user-service",
        operation="GET /users/{user_id}",
        protocol="rest",
        call_id="c",
        **fields,
    )


@pytest.mark.parametrize(
    "data",
    [
        None,
        {"a": [1, 2.5, True, None, "ä"]},
        "text",
        b"\x00\xff",
        b"",
        {"__type__": "uuid", "__value__": {"hex": "not one"}},
        [{"deep": {"__type__": "datetime", "__value__": "2026-01-01"}}],
        {"encoding": "base64", "data": "QQ=="},
    ],
)
def test_it_survives_celerys_json(data: Any) -> None:
    assert Reply.from_wire(loads(dumps(reply(data).to_wire()))) == reply(data)


def test_its_summary_has_no_payload() -> None:
    text = repr(reply({"password": "hunter2"}))
    assert text == "<Reply 200 in 34 ms · user-service GET /users/{user_id} · correlation_id=order-42>"
