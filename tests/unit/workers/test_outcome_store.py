"""What Celery's tracer stores of a call is the call's outcome, or nothing yet."""

from typing import Any

import pytest
from celery import Celery
from celery.app.trace import build_tracer
from celery.backends.base import KeyValueStoreBackend

from gateway.errors import ServiceUnavailableError
from gateway.reply import Reply, Timing
from workers.job import Job
from workers.outcome_store import settled
from workers.pool.tracer import TracerThreads
from workers.task import CallTask

REPLY = Reply(
    data=None,
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


class Recovering(KeyValueStoreBackend):
    """A store in memory that is away for its first writes."""

    def __init__(self, app: Celery, away: int) -> None:
        super().__init__(app)
        self.away = away
        self.stored: dict[Any, Any] = {}

    def get(self, key: Any) -> Any:
        return self.stored.get(key)

    def set(self, key: Any, value: Any) -> None:
        self.away -= 1
        if self.away >= 0:
            raise ConnectionError("away")
        self.stored[key] = value


def made(away: int) -> tuple[Celery, CallTask, Recovering]:
    app = Celery("test", broker="memory://", set_as_current=False)
    task = CallTask(lambda: pytest.fail("no executor is made here"))
    app.register_task(task)
    store = Recovering(app, away)
    task.backend = store
    return app, task, store


@pytest.mark.parametrize("outcome", [REPLY, ServiceUnavailableError("down")])
@pytest.mark.filterwarnings("ignore:Exception raised outside body")
def test_a_store_that_comes_back_amid_gets_no_other_outcome(outcome: Reply | Exception) -> None:
    """The tracer's second write is of the error of its first one."""
    app, task, store = made(away=1)
    trace = build_tracer(task.name, task, app=app)
    with settled(outcome), pytest.raises(ConnectionError):
        trace("i", [], {}, {"id": "i"})
    assert store.stored == {}
    with settled(outcome):
        trace("i", [], {}, {"id": "i"})
    assert store.get_state("i") == ("SUCCESS" if outcome is REPLY else "FAILURE")
    if outcome is not REPLY:
        assert isinstance(store.get_result("i"), ServiceUnavailableError)


@pytest.mark.filterwarnings("ignore:Exception raised outside body")
def test_the_next_step_of_a_chain_is_enqueued_once() -> None:
    app, task, store = made(away=1)
    trace = build_tracer(task.name, task, app=app)
    request: dict[str, Any] = {"id": "i", "delivery_info": {}}
    embed = {"callbacks": None, "chain": [app.signature("next", app=app, queue="next")]}

    def target(name: str, call_id: str, headers: dict[str, Any], body: Any, *_: Any) -> tuple[int, Any, float]:
        headers.update(body[2])
        trace(call_id, [], {}, headers)
        return 0, "", 0.0

    def nothing(*_: Any) -> None:
        pass

    job = Job(
        "i", target, (task.name, "i", request, ((), {}, embed), None, None), nothing, nothing, nothing, nothing, nothing
    )
    job.outcome = REPLY
    threads = TracerThreads("test", 1, nothing)
    assert not threads._try(job)
    assert threads._try(job)
    assert store.get_state("i") == "SUCCESS"
    with app.connection_for_read() as connection:
        assert connection.SimpleQueue("next").qsize() == 1
