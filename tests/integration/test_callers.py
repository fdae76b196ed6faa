"""Who may have calls executed: on a real worker, with the ledger of the service that must not be touched."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import redis
from celery import chain, chord, group

from gateway import RestCall, previous
from gateway.dev.valkey import Valkey
from gateway.errors import CallRejectedError, InvalidCallError, ServiceFaultError
from gateway.rejected import read_rejected
from tests.faults.fleet import eventually
from tests.integration.callers_stack import ALGORITHMS, ORDERS_NEW, CallersStack, body_of, with_body
from tests.servers.conduct import Conduct

_ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def callers(valkey: Valkey, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CallersStack]:
    with CallersStack(valkey, tmp_path_factory.mktemp("callers")) as made:
        yield made


@pytest.fixture
def path() -> str:
    return f"/users/{uuid4().hex}"


def rejected(callers: CallersStack, pending: Any, path: str, reason: str) -> CallRejectedError:
    """The call ended so, and nothing of it came to the service."""
    with pytest.raises(CallRejectedError) as caught:
        pending.result(timeout=20)
    assert caught.value.details["reason"] == reason
    assert caught.value.delivery == "not_sent"
    assert callers.service.arrivals(path) == []
    return caught.value


@pytest.mark.parametrize("caller", ALGORITHMS)
def test_a_known_caller_is_served(callers: CallersStack, path: str, caller: str) -> None:
    gateway = callers.known(caller)
    call = RestCall("users", "GET", path)
    assert gateway.submit(call).result(timeout=20).status == 200
    assert [reply.result(timeout=20).status for reply in gateway.submit_many([call] * 3)] == [200] * 3
    assert gateway.submit(call, idempotency_key=uuid4().hex).result(timeout=20).status == 200
    assert len(callers.service.arrivals(path)) == 5


def test_either_of_two_keys_is_good(callers: CallersStack, path: str) -> None:
    gateway = callers.gateway("orders", ORDERS_NEW)
    assert gateway.submit(RestCall("users", "GET", path)).result(timeout=20).status == 200


@pytest.mark.parametrize(
    ("caller", "key", "reason"),
    [
        (None, None, "unsigned"),
        ("orders", None, "unsigned"),
        ("orders", "somebody else's secret of some length", "forged"),
        ("nobody", "o" * 40, "unknown"),
        ("billing", "o" * 40, "forged"),
    ],
)
def test_nobody_else_is(callers: CallersStack, path: str, caller: str | None, key: str | None, reason: str) -> None:
    pending = callers.gateway(caller, key).submit(RestCall("users", "POST", path, json={}))
    error = rejected(callers, pending, path, reason)
    assert f"call {pending.id}" in callers.worker.output() or pending.id in callers.worker.output()
    assert "was rejected" in error.message


@pytest.mark.parametrize(
    ("method", "service", "route"),
    [("DELETE", "users", "{path}"), ("GET", "users", "/admin{path}"), ("GET", "other", "{path}/cards")],
)
def test_a_caller_may_do_what_it_is_allowed_and_no_more(
    callers: CallersStack, path: str, method: str, service: str, route: str
) -> None:
    call = RestCall(service, method, route.format(path=path))
    error = rejected(callers, callers.known("orders").submit(call), path, "forbidden")
    assert "orders may not call" in error.message
    assert error.service == service


def test_a_caller_without_a_line_may_do_nothing(callers: CallersStack, path: str) -> None:
    gateway = callers.gateway("idle", callers.environment["ORDERS_KEY"])
    rejected(callers, gateway.submit(RestCall("users", "GET", path)), path, "forbidden")


CALLBACK = {"task": "gateway.call", "args": [], "kwargs": {}, "options": {"task_id": "x"}}
TAMPERED: dict[str, Any] = {
    "another path": lambda body: body[1]["call"].update(route="/users/other"),
    "another method": lambda body: body[1]["call"].update(method="DELETE"),
    "another body": lambda body: body[1]["call"].update(json={"amount": 1_000_000}),
    "another service": lambda body: body[1]["call"].update(service="other"),
    "another caller": lambda body: body[1].update(caller="idle"),
    "a longer deadline": lambda body: body[1].update(deadline_at=body[1]["deadline_at"] + 3600),
    "relative deadline": lambda body: body[1].update(deadline_s=3600, deadline_at=None),
    "another correlation id": lambda body: body[1].update(correlation_id="other"),
    "another key": lambda body: body[1].update(idempotency_key="other"),
    "a callback": lambda body: body[2].update(callbacks=[CALLBACK]),
    "an earlier result": lambda body: body[0].append({"status": 200}),
    "no signature": lambda body: body[1].pop("signature"),
    "half a signature": lambda body: body[1].update(signature=body[1]["signature"][:40]),
    "no text": lambda body: body[1].update(signature={"a": 1}),
    "a call beside": lambda body: body[1].update(call_json=json.dumps(body[1]["call"])),
}


@pytest.mark.parametrize("how", TAMPERED)
@pytest.mark.parametrize("caller", ALGORITHMS)
def test_what_was_changed_on_its_way_is_not_done(callers: CallersStack, path: str, caller: str, how: str) -> None:
    message = callers.capture(callers.known(caller), RestCall("users", "POST", path, json={"amount": 1}))
    body = body_of(message)
    TAMPERED[how](body)
    callers.enqueue(with_body(message, body))
    with pytest.raises(CallRejectedError) as caught:
        callers.pending(message).result(timeout=20)
    assert caught.value.details["reason"] in ("tampered", "forged", "unsigned")
    assert callers.service.arrivals(path) == callers.service.arrivals("/users/other") == []


def test_the_message_itself_is_good(callers: CallersStack, path: str) -> None:
    """That what is tampered with is a message that would be served."""
    message = callers.capture(callers.known("orders"), RestCall("users", "POST", path, json={"amount": 1}))
    callers.enqueue(message)
    assert callers.pending(message).result(timeout=20).status == 200


def test_a_message_that_is_enqueued_again_is_done_once(callers: CallersStack, path: str) -> None:
    message = callers.capture(callers.known("orders"), RestCall("users", "POST", path, json={"amount": 1}))
    for _ in range(3):
        callers.enqueue(message)
    assert callers.pending(message).result(timeout=20).status == 200
    callers.enqueue(message)
    other = callers.known("orders").submit(RestCall("users", "GET", f"{path}/after"))
    assert other.result(timeout=20).status == 200
    assert len([arrival for arrival in callers.service.arrivals(path) if arrival.method == "POST"]) == 1


def test_under_another_id_it_is_not_done_at_all(callers: CallersStack, path: str) -> None:
    message = callers.capture(callers.known("orders"), RestCall("users", "POST", path, json={"amount": 1}))
    message["headers"]["id"] = str(uuid4())
    callers.enqueue(message)
    rejected(callers, callers.pending(message), path, "replayed")


def test_signatures_of_celery_are_signed_however_they_are_combined(callers: CallersStack, path: str) -> None:
    gateway = callers.known("orders")
    first = gateway.signature(RestCall("users", "GET", path))
    for _ in range(2):
        # Celery gives a chain's last step the same id each time that the chain is started.
        then = gateway.signature(RestCall("users", "GET", f"{path}/{{status}}", path={"status": previous("status")}))
        assert chain(first, then).apply_async().get(timeout=20)["status"] == 200
    assert [first.delay().get(timeout=20)["status"] for _ in range(2)] == [200, 200]
    linked = first.clone()
    linked.link(gateway.signature(RestCall("users", "POST", f"{path}/linked"), idempotency_key=uuid4().hex))
    linked.apply_async().get(timeout=20)
    whole = chord(group(first.clone(), first.clone()), gateway.signature(RestCall("users", "POST", f"{path}/body")))
    assert whole.apply_async().get(timeout=20)["status"] == 200
    arrived = [arrival.path for arrival in callers.service.arrivals(path)]
    assert arrived.count(f"{path}/200") == 2
    assert arrived.count(f"{path}/body") == 1
    assert arrived.count(path) == 2 + 2 + 1 + 2


def test_a_step_that_another_app_enqueues_is_good_for_one_call(callers: CallersStack, path: str) -> None:
    step = callers.known("orders").signature(RestCall("users", "POST", path))
    app = callers.plain()
    options: dict[str, Any] = {"kwargs": dict(step["kwargs"]), "queue": "gateway"}
    assert app.send_task("gateway.call", **options).get(timeout=20)["status"] == 200
    with pytest.raises(CallRejectedError) as caught:
        app.send_task("gateway.call", **options).get(timeout=20)
    assert caught.value.details["reason"] == "replayed"
    assert len(callers.service.arrivals(path)) == 1


def test_a_seal_is_opened_for_its_own_call_alone(callers: CallersStack, path: str) -> None:
    gateway = callers.known("orders")
    sealed = {"Authorization": "Bearer user-token-canary", "x-tenant": "t-1"}
    call = RestCall("users", "GET", path)
    message = callers.capture(gateway, call, sealed=sealed)
    assert "canary" not in json.dumps(message)
    assert "canary" not in json.dumps(body_of(message))
    assert gateway.submit(call, sealed=sealed).result(timeout=20).status == 200
    # The service that has credentials of its own there is not given a user's.
    rejected_path = f"{path}x"
    pending = gateway.submit(RestCall("other", "GET", rejected_path), sealed=sealed)
    assert "is set by the gateway itself" in rejected(callers, pending, rejected_path, "sealed").message
    # Billing copies what orders sealed into a call of its own.
    copied = callers.capture(callers.known("billing"), RestCall("users", "GET", f"{path}/stolen"))
    body = body_of(copied)
    body[1]["sealed"] = body_of(message)[1]["sealed"]
    del body[1]["signature"]
    billing = callers.known("billing").celery.call_signer  # type: ignore[attr-defined]
    body[1], _ = billing.message(copied["headers"]["id"], [], body[1], {})
    callers.enqueue(with_body(copied, body))
    rejected(callers, callers.pending(copied), f"{path}/stolen", "sealed")


def test_what_cannot_be_sealed_is_refused_at_submit(callers: CallersStack) -> None:
    call = RestCall("users", "GET", "/users/1")
    gateway = callers.known("orders")
    for values, why in (
        ({}, "no mapping"),
        ("token", "no mapping"),
        ({"x-a": "b\r\nc"}, "CR, LF"),
        ({"authorization": "b\r\nc"}, "CR, LF"),
        ({"host": "h"}, "reserved"),
        ({"x-service-auth": "h"}, "reserved"),
        ({"x-a": 1}, "not a string"),
        ({"x-a": ""}, "empty"),
    ):
        with pytest.raises(InvalidCallError, match=why):
            gateway.submit(call, sealed=values)  # type: ignore[arg-type]
    with pytest.raises(InvalidCallError, match="no key to seal it with"):
        callers.gateway("orders", "o" * 40, catalogue=_without_sealing(callers)).submit(call, sealed={"x-a": "b"})


def _without_sealing(callers: CallersStack) -> Any:
    from gateway import Catalogue

    return Catalogue.parse({"services": {"users": {"rest": {"url": "${COUNTING_URL}"}}}})


def test_without_a_caller_the_worker_says_that_it_trusts_everybody(stack: Any) -> None:
    assert "TRUSTS EVERYBODY" in stack.worker.output()


def test_with_callers_it_does_not(callers: CallersStack, tmp_path: Path) -> None:
    assert "TRUSTS EVERYBODY" not in callers.worker.output()


def test_what_was_refused_is_counted_and_shown(callers: CallersStack, path: str) -> None:
    def refused() -> dict[tuple[str, str], int]:
        with redis.Redis.from_url(callers.environment["GATEWAY_RESULT_URL"]) as client:
            return {(entry.caller, entry.reason): entry.calls for entry in read_rejected(client)}

    before = refused()
    unsigned, forbidden = ("-", "unsigned"), ("orders", "forbidden")
    for _ in range(3):
        rejected(callers, callers.gateway(None, None).submit(RestCall("users", "GET", path)), path, "unsigned")
    rejected(callers, callers.known("orders").submit(RestCall("users", "DELETE", path)), path, "forbidden")
    eventually(
        lambda: (
            refused().get(unsigned, 0) == before.get(unsigned, 0) + 3
            and refused().get(forbidden, 0) == before.get(forbidden, 0) + 1
        ),
        timeout=10,
        what="the counts",
    )
    shown = callers.cli("callers")
    assert "users POST /users/**" in shown
    assert f"{refused()[forbidden]} forbidden" in shown
    assert json.loads(callers.cli("callers", "--json"))["callers"]["idle"] == {"keys": ["env:ORDERS_KEY"], "allow": []}


def test_explain_says_by_which_line(callers: CallersStack) -> None:
    assert "allowed by callers.orders.allow: 'users POST /users/**'" in callers.cli(
        *("explain", "--caller", "orders", "users", "POST", "/users/{id}/cards")
    )
    assert "not allowed: no line" in callers.cli("explain", "--caller", "orders", "users", "PUT", "/users")
    assert "there is no such caller" in callers.cli("explain", "--caller", "who", "users", "PUT", "/users")


def test_a_replay_is_signed_in_the_name_of_its_caller(callers: CallersStack, path: str) -> None:
    callers.service.behave(path, Conduct(status=500, first=1))
    dead = callers.known("orders").submit(RestCall("users", "GET", path))
    with pytest.raises(ServiceFaultError):
        dead.result(timeout=20)
    assert "1 replayed" in callers.cli("dead", "replay", dead.id, "--yes")
    eventually(lambda: len(callers.service.arrivals(path)) == 2, timeout=20, what="the replay")
    # Of a caller whose key is not here it cannot be.
    callers.service.behave(path, Conduct(status=500, first=1))
    other = callers.known("billing").submit(RestCall("users", "GET", path))
    with pytest.raises(ServiceFaultError):
        other.result(timeout=20)
    assert "would have to be signed by billing" in callers.cli("dead", "replay", other.id, "--yes", code=1)


def test_a_forged_call_does_not_become_a_true_one_by_being_replayed(callers: CallersStack, path: str) -> None:
    forged = callers.gateway("orders", "x" * 40).submit(RestCall("users", "POST", path))
    rejected(callers, forged, path, "forged")
    assert "nobody knows who asked it" in callers.cli("dead", "replay", forged.id, "--yes", code=1)
    assert callers.service.arrivals(path) == []


def test_the_example(callers: CallersStack) -> None:
    said = callers.run((_ROOT / "examples" / "known_caller.py").read_text(), caller="orders")
    assert said == "allowed: 200\nrefused: forbidden not_sent\n"


def test_a_producer_without_this_package_signs_as_the_document_says(callers: CallersStack, path: str) -> None:
    *_, code = re.findall(r"```python\n(.*?)```", (_ROOT / "docs" / "callers.md").read_text(), re.DOTALL)
    known: dict[str, Any] = {}
    exec(code, known)  # noqa: S102 - what the document says is what is tested
    call = {"protocol": "rest", "service": "users", "method": "POST", "route": path, "json": {"ä": 1.5}}
    kwargs = known["signed"]({"version": 1, "call": call}, "orders", ORDERS_NEW, known["call_id"])
    app = callers.plain()
    sent = app.send_task("gateway.call", task_id=known["call_id"], queue="gateway", kwargs=kwargs)
    assert sent.get(timeout=20)["status"] == 200
    assert len(callers.service.arrivals(path)) == 1
