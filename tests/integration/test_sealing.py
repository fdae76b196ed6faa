"""What a producer seals arrives at the service, and is nowhere on its way."""

import json
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from gateway import Catalogue, RestCall
from gateway.codec import encode
from gateway.dev.valkey import Valkey
from gateway.envelope import Envelope
from gateway.errors import CallRejectedError
from gateway.reply import Reply
from gateway.sealing import Seal, Unsealer
from gateway.signing_key import KeyProblem
from tests.servers.keys import sealing_pair, signing_pair
from tests.servers.recorder import Recorder
from workers.executor import Executor

CALL = RestCall("users", "GET", "/users/1")
VALUES = {"Authorization": "Bearer the-users-token", "x-tenant": "t-1"}


async def performed(url: str, valkey: Valkey, private: list[str], environ: dict[str, str], sealed: str) -> Any:
    """What one call comes to in a worker with these keys."""
    catalogue = Catalogue.parse(
        {"services": {"users": {"rest": {"url": url}}}, "sealing": {"private": private}}, environ=environ
    )
    executor = Executor(catalogue, environ, result_url=valkey.url(14), result_prefix="celery-task-meta-", worker="w")
    await executor.start()
    try:
        kwargs = encode(Envelope(version=1, call=CALL, caller="orders", sealed=sealed))
        return await executor.perform(uuid4().hex, (), json.loads(json.dumps(kwargs)), {}, lambda: b"{}")
    finally:
        await executor.close()


async def test_it_arrives_as_headers(valkey: Valkey) -> None:
    (old, old_public), (new, new_public) = sealing_pair(), sealing_pair()
    environ = {"OLD": old, "NEW": new, "OLD_PUBLIC": old_public, "NEW_PUBLIC": new_public}
    with Recorder() as service:
        # Producers change to the new key one by one.
        for public in ("env:OLD_PUBLIC", "env:NEW_PUBLIC"):
            sealed = Seal(public, environ).close(VALUES, CALL, "orders")
            outcome = await performed(service.url, valkey, ["env:NEW", "env:OLD"], environ, sealed)
            assert isinstance(outcome, Reply), outcome
            arrived = service.requests.pop()
            assert arrived["authorization"] == "Bearer the-users-token"
            assert arrived["x-tenant"] == "t-1"


async def test_without_its_key_nothing_is_sent(valkey: Valkey) -> None:
    environ = {"KEY": sealing_pair()[0], "OTHER": sealing_pair()[0]}
    sealed = Seal("env:KEY", environ).close(VALUES, CALL, "orders")
    broken = [sealed[:-1], sealed[1:], sealed + "A", "x", ".....", sealed.replace(".", "", 1), "a" * 60_000]
    with Recorder() as service:
        for private, text in [(["env:OTHER"], sealed), ([], sealed), *((["env:KEY"], text) for text in broken)]:
            outcome = await performed(service.url, valkey, private, environ, text)
            assert isinstance(outcome, CallRejectedError), outcome
            assert outcome.details == {"reason": "sealed"}
            assert outcome.delivery == "not_sent"
        assert service.requests == []


def test_it_is_for_one_callers_calls_of_one_operation() -> None:
    environ = {"KEY": sealing_pair()[0]}
    sealed, unsealer = Seal("env:KEY", environ).close(VALUES, CALL, "orders"), Unsealer(["env:KEY"], environ)
    assert unsealer.open(sealed, CALL, "orders").headers == {
        "authorization": "Bearer the-users-token",
        "x-tenant": "t-1",
    }
    assert "token" not in repr(unsealer.open(sealed, CALL, "orders"))
    for call, caller in (
        (CALL, "billing"),
        (CALL, None),
        (RestCall("other", "GET", "/users/1"), "orders"),
        (RestCall("users", "GET", "/users/2"), "orders"),
        (RestCall("users", "HEAD", "/users/1"), "orders"),
    ):
        with pytest.raises(ValueError, match="another call"):
            unsealer.open(sealed, call, caller)


def test_a_key_that_is_none_is_refused(tmp_path: Path) -> None:
    private, public = sealing_pair()
    environ = {"PUBLIC": public, "SIGNS": signing_pair()[0], "TEXT": "secret-text", "JWK": "{}"}
    with pytest.raises(KeyProblem, match="opens nothing"):
        Unsealer(["env:PUBLIC"], environ)
    for reference in ("env:SIGNS", "env:TEXT", "env:JWK"):
        with pytest.raises(KeyProblem, match="is not a key for sealing") as caught:
            Seal(reference, environ)
        assert "secret-text" not in str(caught.value)
    for reference in ("env:NONE", f"file:{tmp_path}/none", "nonsense"):
        with pytest.raises(KeyProblem):
            Seal(reference, environ)
    file = tmp_path / "seal.pem"
    file.write_text(private)
    assert Unsealer([f"file:{file}"], {}).open(Seal("env:PUBLIC", environ).close(VALUES, CALL, None), CALL, None)
