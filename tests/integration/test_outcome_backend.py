"""A call's first outcome stands, whoever comes with another one; on a real server."""

from collections.abc import Iterator
from typing import Any

import pytest
import redis
from celery import Celery

from gateway.dev.valkey import Valkey
from gateway.errors import Delivery, GatewayFaultError, OutcomeUnknownError, ServiceFaultError
from workers.outcome_backend import BACKENDS
from workers.outcome_store import OutcomeStore, settled

DATABASE = 12


@pytest.fixture
def app(valkey: Valkey) -> Iterator[Celery]:
    with redis.Redis.from_url(valkey.url(DATABASE)) as client:
        client.flushdb()
    made = Celery("test", backend=valkey.url(DATABASE), set_as_current=False)
    made.loader.override_backends = BACKENDS
    made.conf.result_expires = 100
    yield made
    made.close()


def store(app: Celery, outcome: Any, call_id: str = "c") -> None:
    """As the tracer does, for a call."""
    backend: Any = app.backend
    with settled(outcome):
        if isinstance(outcome, Exception):
            backend.mark_as_failure(call_id, outcome)
        else:
            backend.mark_as_done(call_id, outcome)


def test_the_alias_is_taken(app: Celery) -> None:
    assert type(app.backend).__module__ == "workers.outcome_backend"


def test_what_is_stored_is_announced_and_expires(app: Celery, valkey: Valkey) -> None:
    backend: Any = app.backend
    key = backend.get_key_for_task("c").decode()
    with redis.Redis.from_url(valkey.url(DATABASE), decode_responses=True) as client, client.pubsub() as channel:
        channel.subscribe(key)
        assert channel.get_message(timeout=5)["type"] == "subscribe"
        store(app, {"status": 200})
        message = channel.get_message(timeout=5)
        assert message is not None
        assert message["data"] == client.get(key)
        assert 95 < client.ttl(key) <= 100
    assert app.AsyncResult("c").get(timeout=5) == {"status": 200}


def test_a_reply_that_comes_late_does_not_replace_what_was_told(app: Celery) -> None:
    store(app, OutcomeUnknownError("its worker ended"))
    store(app, {"status": 200})
    with pytest.raises(OutcomeUnknownError):
        app.AsyncResult("c").get(timeout=5)


def test_an_error_that_comes_late_does_not_replace_a_reply(app: Celery) -> None:
    store(app, {"status": 200})
    store(app, ServiceFaultError("answered 500"))
    assert app.AsyncResult("c").get(timeout=5) == {"status": 200}


def test_what_celery_says_of_a_call_beside_the_tracer_does_not_replace_its_outcome(app: Celery) -> None:
    """`Request.on_failure` stores too, when the tracer broke."""
    kept = OutcomeStore(app.backend)
    store(app, ServiceFaultError("answered 500", delivery=Delivery.ANSWERED))
    kept.mark_as_failure("c", GatewayFaultError("the tracer failed"))
    kept.mark_as_done("c", {"status": 200})
    with pytest.raises(ServiceFaultError):
        app.AsyncResult("c").get(timeout=5)
    kept.mark_as_failure("d", GatewayFaultError("the tracer failed"))
    with pytest.raises(GatewayFaultError):
        app.AsyncResult("d").get(timeout=5)


def test_an_outcome_that_was_told_early_says_what_is_owed(app: Celery) -> None:
    backend: Any = app.backend
    kept = OutcomeStore(backend)
    assert kept.owing("c") is None
    store(app, ServiceFaultError("answered 500"))
    assert kept.owing("c") is None, "an outcome alone owes nothing"
    kept.tell("c", OutcomeUnknownError("another"), {})
    owed = kept.owing("c")
    assert isinstance(owed, ServiceFaultError), "the first outcome stands"
    assert 95 < backend.client.ttl("gateway:owed:c") <= 100
    kept.paid("c")
    assert kept.owing("c") is None
    kept.tell("d", OutcomeUnknownError("nobody asks"), {"ignore_result": True})
    assert kept.owing("d") is None


@pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")  # by Celery
def test_what_is_no_outcome_is_replaced(app: Celery) -> None:
    backend: Any = app.backend
    backend.store_result("c", None, "RETRY")
    store(app, {"status": 200})
    assert app.AsyncResult("c").get(timeout=5) == {"status": 200}


@pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")  # by Celery
def test_other_tasks_are_stored_as_celery_does(app: Celery) -> None:
    backend: Any = app.backend
    backend.mark_as_failure("t", ValueError("first"))
    backend.mark_as_done("t", "second")
    assert app.AsyncResult("t").get(timeout=5) == "second"


def test_a_server_that_forgot_the_script_learns_it_again(app: Celery, valkey: Valkey) -> None:
    store(app, {"status": 200}, "c1")
    with redis.Redis.from_url(valkey.url(DATABASE)) as client:
        client.script_flush()
    store(app, {"status": 200}, "c2")
    assert app.AsyncResult("c2").get(timeout=5) == {"status": 200}
