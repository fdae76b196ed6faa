"""How the gateway shows services who it is: each scheme on a real service, and over gRPC where it applies."""

import asyncio
import json
import os
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey
from standardwebhooks import Webhook as Receiver

from gateway import Catalogue, GraphQLCall, RestCall
from gateway.call import Call
from gateway.codec import encode
from gateway.dev.valkey import Valkey
from gateway.envelope import Envelope
from gateway.errors import (
    InvalidCallError,
    ServiceAuthError,
    ServiceError,
    ServiceTimeoutError,
    ServiceUnavailableError,
)
from gateway.reply import Reply
from tests.faults.fleet import eventually
from tests.servers.keys import signing_pair
from tests.servers.recorder import Recorder
from tests.servers.token_server import TokenServer
from workers.executor import Executor

Perform = Callable[..., Any]


@asynccontextmanager
async def worker(
    valkey: Valkey, url: str, auth: dict[str, Any], environ: dict[str, str], **service: Any
) -> AsyncIterator[Perform]:
    """Performs calls at a service with this `auth`."""
    table = {"rest": {"url": url}, "graphql": {"url": f"{url}/graphql"}, "auth": auth, **service}
    # What one test makes of the service is not what the next one finds.
    table["breaker"] = {"enabled": False}
    catalogue = Catalogue.parse({"services": {"users": table}}, environ=environ)
    executor = Executor(catalogue, environ, result_url=valkey.url(14), result_prefix="celery-task-meta-", worker="w")
    await executor.start()

    async def perform(call: Call | None = None, *, call_id: str | None = None, caller: str | None = "orders") -> Any:
        envelope = Envelope(version=1, call=call or RestCall("users", "GET", "/users/1"), caller=caller)
        kwargs = json.loads(json.dumps(encode(envelope)))
        return await executor.perform(call_id or uuid4().hex, (), kwargs, {}, lambda: b"{}")

    try:
        yield perform
    finally:
        await executor.close()


PASSWORD = "pass:word with spaces"
SIMPLE: list[tuple[dict[str, Any], str, str, str]] = [
    ({"type": "service-key", "secret": "env:S"}, "the-secret-key", "x-service-auth", "the-secret-key"),
    (
        {"type": "service-key", "secret": "env:S", "header": "X-Api-Key"},
        "the-secret-key",
        "x-api-key",
        "the-secret-key",
    ),
    ({"type": "bearer", "secret": "env:S"}, "the-token", "authorization", "Bearer the-token"),
    (
        {"type": "basic", "user": "gateway", "secret": "env:S"},
        PASSWORD,
        "authorization",
        "Basic " + b64encode(f"gateway:{PASSWORD}".encode()).decode(),
    ),
]


@pytest.mark.parametrize(("auth", "secret", "header", "value"), SIMPLE)
async def test_a_secret_that_is_sent(
    valkey: Valkey, auth: dict[str, Any], secret: str, header: str, value: str
) -> None:
    with Recorder() as service:
        async with worker(valkey, service.url, auth, {"S": secret}) as perform:
            # What the call itself says of that name never gets so far; GraphQL has the same credentials.
            assert isinstance(await perform(), Reply)
            await perform(GraphQLCall("users", "{ a }"))
        assert [request[header] for request in service.requests] == [value, value]


async def test_a_file_is_read_again_when_it_changes(valkey: Valkey, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("the-first-token\n")
    auth = {"type": "bearer", "secret": f"file:{file}"}
    with Recorder() as service:
        async with worker(valkey, service.url, auth, {}) as perform:

            async def sent() -> str:
                assert isinstance(await perform(), Reply)
                return service.requests[-1]["authorization"]

            assert await sent() == "Bearer the-first-token"
            for written in ("", "two\nlines"):
                # What is no token, since somebody is in the middle of writing it: the one from before stays.
                file.write_text(written)
                await asyncio.sleep(1.1)
                assert await sent() == "Bearer the-first-token"
            (tmp_path / "new").write_text("the-second-token")
            (tmp_path / "new").replace(file)
            for _ in range(100):
                if await sent() == "Bearer the-second-token":
                    break
                await asyncio.sleep(0.1)
            assert await sent() == "Bearer the-second-token"


KEYS: list[tuple[str, Any]] = [
    ("HS256", OctKey.import_key("a-shared-secret-of-some-length-x")),
    ("EdDSA", OKPKey.generate_key("Ed25519")),
    ("ES256", ECKey.generate_key("P-256")),
    ("RS256", RSAKey.generate_key(2048)),
]


@pytest.mark.parametrize(("algorithm", "key"), KEYS, ids=[algorithm for algorithm, _ in KEYS])
@pytest.mark.filterwarnings("ignore:EdDSA is deprecated")
async def test_a_token_that_the_gateway_signs(valkey: Valkey, algorithm: str, key: Any) -> None:
    secret = "a-shared-secret-of-some-length-x" if algorithm == "HS256" else key.as_pem(private=True).decode()
    auth = {"type": "jwt", "secret": "env:S", "ttl": 30}
    with Recorder() as service:
        async with worker(valkey, service.url, auth, {"S": secret}) as perform:
            for caller in ("orders", None):
                assert isinstance(await perform(caller=caller), Reply)
        ids = set()
        for request, caller in zip(service.requests, ("orders", None), strict=True):
            token = jwt.decode(request["authorization"].removeprefix("Bearer "), key, algorithms=[algorithm])
            claims = token.claims
            assert token.header["alg"] == algorithm
            assert (claims["iss"], claims["aud"], claims.get("sub")) == ("call-gateway", "users", caller)
            assert claims["correlation_id"] == request["x-correlation-id"]
            assert claims["exp"] - claims["iat"] == 30
            jwt.JWTClaimsRegistry(aud={"essential": True, "value": "users"}).validate(claims)
            ids.add(claims["jti"])
        assert len(ids) == 2


@pytest.mark.filterwarnings("ignore:EdDSA is deprecated")
async def test_a_key_that_is_half_written_changes_nothing(valkey: Valkey, tmp_path: Path) -> None:
    key, file = OKPKey.generate_key("Ed25519"), tmp_path / "key"
    file.write_text(key.as_pem(private=True).decode())
    with Recorder() as service:
        async with worker(valkey, service.url, {"type": "jwt", "secret": f"file:{file}"}, {}) as perform:
            for written in (None, "-----BE", "half of something", "-----BEGIN PRIVATE KEY-----\nMC"):
                if written is not None:
                    file.write_text(written)
                    await asyncio.sleep(1.1)
                assert isinstance(await perform(), Reply)
                token = service.requests[-1]["authorization"].removeprefix("Bearer ")
                assert jwt.decode(token, key, algorithms=["EdDSA"]).header["alg"] == "EdDSA", written


async def test_a_webhook_secret_that_is_half_written_changes_nothing(valkey: Valkey, tmp_path: Path) -> None:
    secret, file = f"whsec_{b64encode(os.urandom(32)).decode()}", tmp_path / "secret"
    file.write_text(secret)
    with Recorder() as service:
        async with worker(valkey, service.url, {"type": "webhook", "secrets": [f"file:{file}"]}, {}) as perform:
            for written in (secret, secret[:20], "nonsense"):
                file.write_text(written)
                await asyncio.sleep(1.1)
                assert isinstance(await perform(RestCall("users", "POST", "/hook", json={"a": 1})), Reply)
                Receiver(secret).verify(service.bodies[-1], service.requests[-1])


@pytest.mark.parametrize("name", ["x_api_key", "X_Api-Key"])
async def test_nothing_that_may_be_read_as_the_credentials_goes_beside_them(valkey: Valkey, name: str) -> None:
    auth = {"type": "service-key", "secret": "env:S", "header": "x-api-key"}
    with Recorder() as service:
        async with worker(valkey, service.url, auth, {"S": "the-service-key"}) as perform:
            refused = await perform(RestCall("users", "GET", "/users", headers={name: "forged"}))
            assert isinstance(refused, InvalidCallError)
            assert service.requests == []


async def test_a_signed_body(valkey: Valkey) -> None:
    new, old = (f"whsec_{b64encode(os.urandom(32)).decode()}" for _ in range(2))
    auth = {"type": "webhook", "secrets": ["env:NEW", "env:OLD"]}
    with Recorder() as service:
        async with worker(valkey, service.url, auth, {"NEW": new, "OLD": old}) as perform:
            body = {"amount": 1.5, "name": "ä"}
            call_id = uuid4().hex
            assert isinstance(await perform(RestCall("users", "POST", "/hook", json=body), call_id=call_id), Reply)
            await perform(GraphQLCall("users", "{ a }"))
            assert isinstance(await perform(), Reply)
        for request, content in zip(service.requests, service.bodies, strict=True):
            for secret in (new, old):
                if content:
                    Receiver(secret).verify(content, request)
            assert len(request["webhook-signature"].split()) == 2
        assert service.requests[0]["webhook-id"] == call_id
        with pytest.raises(Exception, match="No matching signature"):
            Receiver(new).verify(service.bodies[0] + b" ", service.requests[0])


def oauth(server: TokenServer, **more: Any) -> dict[str, Any]:
    return {"type": "oauth2", "token_url": f"{server.url}/token", "client_id": "gate way", "secret": "env:S", **more}


ENVIRON = {"S": "client/secret+with=odd"}


async def test_one_token_for_many_calls(valkey: Valkey) -> None:
    with TokenServer() as server:
        async with worker(valkey, server.url, oauth(server, scope="a b", audience="users"), ENVIRON) as perform:
            outcomes = await asyncio.gather(*(perform() for _ in range(50)))
        assert all(isinstance(outcome, Reply) for outcome in outcomes)
        assert server.forms == [
            {
                "grant_type": "client_credentials",
                "client_id": "gate way",
                "client_secret": ENVIRON["S"],
                "scope": "a b",
                "audience": "users",
            }
        ]
        async with worker(valkey, server.url, oauth(server, client_auth="post"), ENVIRON) as perform:
            assert isinstance(await perform(), Reply)
        assert server.forms[1]["client_secret"] == ENVIRON["S"]


async def test_a_withdrawn_token_is_renewed_once(valkey: Valkey) -> None:
    with TokenServer() as server:
        async with worker(valkey, server.url, oauth(server), ENVIRON) as perform:
            assert isinstance(await perform(), Reply)
            server.withdraw()
            server.requests.clear()
            outcomes = await asyncio.gather(*(perform(RestCall("users", "POST", "/users", json={})) for _ in range(20)))
            assert all(isinstance(outcome, Reply) for outcome in outcomes), outcomes
            assert len(server.forms) == 2
            assert [status for status, _ in server.requests].count(200) == 20
            assert len({headers["x-request-id"] for _, headers in server.requests}) == len(server.requests)


async def test_a_service_that_refuses_for_another_reason_is_no_load_for_the_token_endpoint(valkey: Valkey) -> None:
    with TokenServer() as server:
        async with worker(valkey, server.url, oauth(server), ENVIRON) as perform:
            assert isinstance(await perform(), Reply)
            server.answer = (200, b'{"access_token": "never-good", "token_type": "Bearer"}')
            server.withdraw()
            server.requests.clear()
            asked = len(server.forms)
            assert isinstance(await perform(), ServiceAuthError)
            assert [status for status, _ in server.requests] == [401, 401], "it is asked twice, and no more"
            for _ in range(10):
                assert isinstance(await perform(), ServiceAuthError)
            assert len(server.forms) == asked + 1


async def test_a_token_is_renewed_before_it_ends(valkey: Valkey) -> None:
    with TokenServer() as server:
        server.life_s = 1.0
        async with worker(valkey, server.url, oauth(server), ENVIRON) as perform:
            assert isinstance(await perform(), Reply)
            await asyncio.sleep(0.55)
            # It is still used while a new one is fetched, which takes its time.
            server.hold.clear()
            server.requests.clear()
            eventually(lambda: True, timeout=1)
            pending = asyncio.ensure_future(perform())
            await asyncio.sleep(0.2)
            server.hold.set()
            assert isinstance(await pending, Reply)
            assert len(server.forms) == 2


WRONG: list[tuple[int, bytes]] = [
    (401, b'{"error": "invalid_client"}'),
    (500, b"secret-in-the-answer"),
    (200, b"no json"),
    (200, b"{}"),
    (200, b"[]"),
    (200, b'{"access_token": 5}'),
    (200, b'{"access_token": "a\\r\\nx: y", "token_type": "bearer"}'),
    (200, b'{"access_token": "abcdefgh", "token_type": "mac"}'),
    (200, b'{"access_token": "abcdefgh", "expires_in": "soon"}'),
    (200, b'{"access_token": "abcdefgh", "expires_in": -5}'),
    (200, b'{"access_token": "' + b"a" * 20_000 + b'"}'),
    (200, b"[" * 50_000),
    (302, b""),
]


@pytest.mark.parametrize(("status", "body"), WRONG)
async def test_a_token_endpoint_that_does_not_do_its_work(valkey: Valkey, status: int, body: bytes) -> None:
    with TokenServer() as server:
        server.answer = (status, body)
        async with worker(valkey, server.url, oauth(server), ENVIRON, retry={"attempts": 1}) as perform:
            outcome = await perform(RestCall("users", "POST", "/users", json={}))
        assert isinstance(outcome, ServiceUnavailableError), outcome
        assert outcome.delivery == "not_sent"
        assert "no token from 127.0.0.1" in outcome.message
        assert ENVIRON["S"] not in repr(outcome.fields) + outcome.message
        assert "secret-in-the-answer" not in repr(outcome.fields) + outcome.message
        assert server.requests == []


async def test_a_token_endpoint_that_is_away_or_hangs(valkey: Valkey) -> None:
    with TokenServer() as server:
        gone = oauth(server) | {"token_url": "http://127.0.0.1:1/token"}
        async with worker(valkey, server.url, gone, ENVIRON, retry={"attempts": 1}) as perform:
            outcome = await perform()
        assert isinstance(outcome, ServiceUnavailableError)
        assert outcome.delivery == "not_sent"
        server.hold.clear()
        bounds = {"retry": {"attempts": 1}, "timeouts": {"attempt": 0.5, "total": 1.0}}
        async with worker(valkey, server.url, oauth(server), ENVIRON, **bounds) as perform:
            outcome = await perform(RestCall("users", "POST", "/users", json={}))
        assert isinstance(outcome, ServiceTimeoutError)
        assert outcome.delivery == "not_sent"
        assert server.requests == []


def catalogue(**auth: Any) -> str:
    try:
        Catalogue.parse({"services": {"u": {"rest": {"url": "http://u"}, "auth": auth}}})
    except ValueError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("auth", "said"),
    [
        ({"type": "nonsense"}, "is not a scheme; use 'service-key', 'bearer', 'basic', 'oauth2', 'jwt', 'webhook'"),
        ({"type": "bearer"}, "lacks 'secret'; add it"),
        ({"type": "bearer", "secret": "the-token-itself"}, "is not a reference"),
        ({"type": "bearer", "secret": "env:S", "user": "x"}, "auth.user: is not a key of 'bearer'"),
        ({"type": "basic", "secret": "env:S"}, "lacks 'user'"),
        ({"type": "basic", "secret": "env:S", "user": "a:b"}, "has a ':'"),
        ({"type": "oauth2", "secret": "env:S", "client_id": "c"}, "lacks 'token_url'"),
        (
            {"type": "oauth2", "secret": "env:S", "client_id": "c", "token_url": "https://t", "client_auth": "x"},
            "use 'basic' or 'post'",
        ),
        ({"type": "jwt", "secret": "env:S", "ttl": 0.5}, "is not between 1 and 3600"),
        ({"type": "jwt", "secret": "env:S", "algorithm": "none"}, "is not known"),
        ({"type": "webhook"}, "needs one of secret and secrets"),
        ({"type": "webhook", "secret": "env:S", "secrets": ["env:T"]}, "needs one of secret and secrets"),
        ({"type": "webhook", "secrets": ["env:S", "env:T", "env:U"]}, "2 are enough"),
        ({"type": "webhook", "secrets": ["whsec_AAAA"]}, "is not a reference"),
    ],
)
def test_what_is_wrong_in_the_catalogue(auth: dict[str, Any], said: str) -> None:
    assert said in catalogue(**auth)
    assert "the-token-itself" not in catalogue(**auth)
    assert "whsec_AAAA" not in catalogue(**auth)


@pytest.mark.parametrize(
    ("auth", "secret", "said"),
    [
        ({"type": "webhook", "secret": "env:S"}, "not-whsec", "is not 'whsec_' and the base64"),
        ({"type": "webhook", "secret": "env:S"}, "whsec_AAAA", "is not 'whsec_' and the base64"),
        ({"type": "jwt", "secret": "env:S"}, signing_pair()[1], "is not a private key"),
        ({"type": "jwt", "secret": "env:S", "algorithm": "RS256"}, signing_pair()[0], "cannot sign with RS256"),
        ({"type": "bearer", "secret": "env:S"}, "two\nlines-of-it", "that a header cannot carry"),
        ({"type": "bearer", "secret": "env:NONE"}, "x", "is not set"),
    ],
)
async def test_a_secret_that_does_not_do(valkey: Valkey, auth: dict[str, Any], secret: str, said: str) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        async with worker(valkey, "http://127.0.0.1:1", auth, {"S": secret}):
            pass
    assert not isinstance(caught.value, ServiceError)
    assert secret not in str(caught.value) or len(secret) < 3
