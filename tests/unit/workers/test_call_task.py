"""The body of `gateway.call` only gives what the pool has."""

import pytest

from gateway.errors import GatewayFaultError, ServiceTimeoutError
from gateway.reply import Reply, Timing
from workers.outcome_store import settled
from workers.strategy import find_fault
from workers.task import CallTask

REPLY = Reply(
    data={"self": 1},
    status=200,
    headers={},
    attempts=1,
    timing=Timing(),
    correlation_id="c",
    request_id="r",
    service="s",
    operation="o",
    protocol="rest",
    call_id="i",
)
SIGNATURE: dict[str, object] = {"task": "t", "args": [], "kwargs": {}, "options": {}}


def without(name: str) -> dict[str, object]:
    return {key: value for key, value in SIGNATURE.items() if key != name}


def task() -> CallTask:
    return CallTask(lambda: pytest.fail("no executor is made here"))


def test_a_reply_is_returned_as_plain_json() -> None:
    with settled(REPLY):
        assert task().run("earlier", self=1, call={}) == REPLY.to_wire()


def test_an_error_is_raised_without_the_frames_of_its_coroutine() -> None:
    error = ServiceTimeoutError("slow")
    with pytest.raises(ServiceTimeoutError):
        raise error
    with settled(error), pytest.raises(ServiceTimeoutError) as caught:
        task().run()
    assert caught.value is error
    assert [entry.name for entry in caught.traceback] == [
        "test_an_error_is_raised_without_the_frames_of_its_coroutine",
        "run",
    ]


def test_outside_of_the_pool_it_says_what_to_do() -> None:
    with pytest.raises(GatewayFaultError, match=r"set worker_pool"):
        task().run()


@pytest.mark.parametrize(
    ("field", "headers", "payload"),
    [
        ("id", {}, [[], {}, {}]),
        ("id", {"id": 7}, [[], {}, {}]),
        ("body", {"id": "a"}, None),
        ("kwargs", {"id": "a"}, [[], [], {}]),
        ("eta", {"id": "a", "eta": "9999-99-99"}, [[], {}, {}]),
        ("timelimit", {"id": "a", "timelimit": [float("nan"), None]}, [[], {}, {}]),
        ("chord", {"id": "a"}, [[], {}, {"chord": {}}]),
        *(("chain", {"id": "a"}, [[], {}, {"chain": [without(name)]}]) for name in SIGNATURE),
        *(("callbacks", {"id": "a"}, [[], {}, {"callbacks": [{**SIGNATURE, name: 7}]}]) for name in SIGNATURE),
        (None, {"id": "a"}, [[], {}, {"chain": [SIGNATURE], "chord": SIGNATURE, "errbacks": [SIGNATURE]}]),
        (None, {"id": "a", "eta": "2030-01-01T00:00:00Z", "timelimit": [1, None]}, [[], {}, None]),
    ],
)
def test_find_fault_names_the_field(field: str | None, headers: dict[str, object], payload: object) -> None:
    found = find_fault(headers, payload)
    assert (found[0] if found else None) == field
