"""What takes bytes from outside, each with valid inputs to begin with, and the errors that it may end with."""

import base64
import gzip
import json
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import msgspec
from celery import Celery
from grpc.aio import AioRpcError, Metadata

from gateway import GraphQLCall, GrpcCall, RestCall
from gateway.call import Call
from gateway.catalogue import Catalogue, CatalogueError
from gateway.codec import encode
from gateway.dead_letter import Cause, DeadLetter, Reason
from gateway.dead_letters import _letter
from gateway.dead_message import envelope_of, later_steps
from gateway.envelope import Envelope
from gateway.errors import Delivery, InvalidCallError, ServiceError, ServiceUnavailableError
from gateway.outcome import Failure
from gateway.reply import Reply, Timing
from gateway.service import GrpcEndpoint
from gateway.stored_result import StoredResult
from tests.fuzz.worker import Desk
from workers.attempt import Answer
from workers.parked_message import ParkedMessage
from workers.transports.decoding import BodyDecoder, DecodingError
from workers.transports.descriptors import Method, load_files
from workers.transports.graphql import _outcome
from workers.transports.http_content import ContentError, content_of
from workers.transports.http_endpoint import Received
from workers.transports.rpc_messages import read_reply
from workers.transports.rpc_statuses import Ended, to_failure
from workers.transports.statuses import failure_of_status, is_answer

__all__ = ["SECRET", "Target", "make_targets"]

#: In every payload, and in no log line.
SECRET = "s3cr3t-payload"
_MOST_REPLY = 256 * 1024


@dataclass(frozen=True, slots=True)
class Target:
    """`run` takes an input and says how it ended; what it raises is a defect. `share`: of all inputs, in percent."""

    name: str
    share: int
    seeds: Sequence[bytes]
    run: Callable[[bytes], str]


def make_targets(folder: Path) -> list[Target]:
    """All of them. `folder` takes files."""
    app = Celery("fuzz-results", backend="cache+memory://")
    app.conf.update(accept_content=["json"], result_accept_content=["json"])
    return [
        Target("queue entry", 50, _entries(), Desk().take),
        Target("parked message", 8, _parked(), _unpark),
        Target("stored result", 8, _results(app), lambda raw: _read_result(raw, app.backend)),
        Target("dead letter", 8, _letters(), _read_letter),
        Target("catalogue", 2, _catalogues(), lambda raw: _read_catalogue(raw, folder / "gateway.toml")),
        Target("http reply", 12, _http_replies(), _read_http),
        *_grpc_targets(),
    ]


# -- queue entries -----------------------------------------------------------------------------------------------------


def _envelopes() -> list[Envelope]:
    calls: list[Call] = [
        RestCall("users", "GET", "/users/{user_id}", path={"user_id": "1"}, query={"q": SECRET}),
        RestCall("users", "POST", "/users", json={"name": SECRET, "list": [1, 2.5, None, {"a": True}]}),
        RestCall("users", "PUT", "/f", form={"a": SECRET}, headers={"x-a": "b"}),
        GrpcCall("users", "goodgo.user.v1.UserService/GetUser", {"user_id": SECRET}, metadata={"x-a": "b"}),
        GraphQLCall("users", "query Q($id: ID!) { user(id: $id) { id } }", {"id": SECRET}),
    ]
    return [
        *(Envelope(version=1, call=call, deadline_s=10.0, correlation_id="c-1") for call in calls),
        Envelope(
            version=1,
            call=calls[1],
            request_id="r-1",
            deadline_at=4e9,
            sent_at=1.7e9,
            idempotency_key="k-1",
            caller="orders",
            traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ),
    ]


def _bodies() -> list[str]:
    nothing = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
    signature: dict[str, Any] = {
        "task": "gateway.call",
        "args": [],
        "kwargs": {},
        "options": {},
        "subtask_type": None,
        "immutable": True,
    }
    embedded = {"callbacks": [signature], "errbacks": [signature], "chain": [signature], "chord": signature}
    bodies = [json.dumps([[], encode(envelope), nothing]) for envelope in _envelopes()]
    with_json = {"version": 1, "call_json": json.dumps(encode(_envelopes()[1])["call"])}
    return [*bodies, json.dumps([[{"a": 1}], with_json, embedded])]


def _entry(body: str, headers: dict[str, Any], **envelope: Any) -> bytes:
    message = {
        "body": body,
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {"lang": "py", "task": "gateway.call", "id": "call-1", "root_id": "call-1", "retries": 0, **headers},
        "properties": {
            "delivery_tag": "tag-1",
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": "gateway.users"},
            "priority": 0,
            "body_encoding": None,
            "correlation_id": "call-1",
            "reply_to": "reply",
        },
    }
    return json.dumps(message | envelope).encode()


def _entries() -> list[bytes]:
    bodies = _bodies()
    later = {"eta": "2100-01-01T00:00:00+00:00", "expires": "2100-01-01T00:00:00+00:00", "timelimit": [10, None]}
    parked = {"gateway_parks": 2, "gateway_maybe": 1, "x-delivery-count": 1, "redelivered": True}
    grouped = {"group": "g-1", "group_index": 0, "shadow": "a name", "stamped_headers": [], "stamps": {}}
    encoded = json.loads(_entry(base64.b64encode(bodies[0].encode()).decode(), {}))
    encoded["properties"]["body_encoding"] = "base64"
    packed = base64.b64encode(zlib.compress(bodies[0].encode())).decode()
    compressed = json.loads(_entry(packed, {"compression": "application/x-gzip"}))
    compressed["properties"]["body_encoding"] = "base64"
    return [
        *(_entry(body, {}) for body in bodies),
        *(_entry(bodies[0], more) for more in (later, parked, grouped)),
        _entry(bodies[0], {"expires": "2000-01-01T00:00:00+00:00"}),
        _entry(bodies[0], {}, gateway_deaths=2),
        _entry(bodies[0], {}, gateway_deaths=50),
        json.dumps(encoded).encode(),
        json.dumps(compressed).encode(),
    ]


# -- what is stored ----------------------------------------------------------------------------------------------------


def _packed(body: str) -> bytes:
    headers = {"id": "call-1", "task": "gateway.call"}
    properties = {"content_type": "application/json", "content_encoding": "utf-8", "priority": 0}
    return ParkedMessage(queue="gateway.users", body=body, headers=headers, properties=properties).pack()


def _parked() -> list[bytes]:
    return [b'{"parks":2,"maybe":0,' + _packed(body)[1:] for body in _bodies()]


def _unpark(raw: bytes) -> str:
    try:
        ParkedMessage.unpack(raw)
    except (ValueError, TypeError, KeyError) as error:
        return type(error).__name__
    return "accepted"


def _results(app: Celery) -> list[bytes]:
    reply = Reply(
        data={"user": SECRET, "list": [1, None]},
        status=200,
        headers={"content-type": "application/json"},
        attempts=2,
        timing=Timing(total=0.25),
        correlation_id="c-1",
        request_id="r-1",
        service="users",
        operation="GET /users",
        protocol="rest",
        call_id="call-1",
    )
    error = ServiceUnavailableError("refused", service="users", delivery=Delivery.NOT_SENT, details={"a": SECRET})
    backend: Any = app.backend
    results = [("SUCCESS", reply), ("STARTED", None), ("PENDING", None)]
    failures: list[Exception] = [error, InvalidCallError("wrong", field="body"), KeyError("x")]
    metas = [
        *({"status": status, "result": result and result.to_wire()} for status, result in results),
        *({"status": "FAILURE", "result": backend.prepare_exception(one)} for one in failures),
        {"status": "REVOKED", "result": backend.prepare_exception(KeyError("expired"))},
    ]
    more: dict[str, Any] = {"traceback": None, "children": [], "date_done": None, "task_id": "call-1"}
    return [backend.encode({**meta, **more}).encode() for meta in metas]


def _read_result(raw: bytes, backend: Any) -> str:
    StoredResult.is_final(raw, backend)
    stored = StoredResult(raw, backend, "call-1")
    assert isinstance(stored.state, str)
    try:
        reply = stored.reply()
    except ServiceError as error:
        return type(error).__name__
    assert isinstance(reply, Reply)
    return "accepted"


def _letters() -> list[bytes]:
    letters = [
        DeadLetter(
            id="call-1",
            reason=Reason.FAILED,
            cause=Cause(type="ServiceTimeoutError", message="late", delivery=Delivery.MAYBE_SENT, status=504),
            service="users",
            started=3,
            queue="gateway.users",
            message=msgspec.Raw(_packed(body)),
        )
        for body in _bodies()
    ]
    history = json.dumps([{"number": 1, "at": 1.0, "took_s": 0.5, "worker": "w:1", "outcome": "reply", "status": 200}])
    return [msgspec.json.encode({"letter": letter, "earlier": history}) for letter in letters]


def _read_letter(raw: bytes) -> str:
    letter = _letter(raw, None, 1.0)
    if letter is None:
        return "no letter"
    assert later_steps(letter) >= 0
    repr(letter.has_message), repr(letter.may_have_acted)
    try:
        envelope_of(letter)
    except InvalidCallError:
        return "InvalidCallError"
    return "accepted"


# -- the catalogue -----------------------------------------------------------------------------------------------------


def _catalogues() -> list[bytes]:
    root = Path(__file__).parents[2]
    small = """
[defaults]
timeouts = { total = 10.0, attempt = 3.0, connect = 1.0, pool = 1.0 }
retry    = { attempts = 3, backoff = 0.1, max_backoff = 5.0, budget = 0.2 }
breaker  = { fail_max = 5, reset_timeout = 30.0, success_threshold = 2 }
[services.users]
rest.url = "${USERS_URL}"
grpc     = { target = "users:1", protos = ["a.proto"] }
auth     = { type = "service-key", secret = "env:KEY" }
limit    = { rate = "200/s", concurrency = 50 }
[services.users.operations."GET /users"]
timeouts = { attempt = 1.0 }
[callers.orders]
key   = "env:ORDERS_KEY"
allow = ["users GET /users/*"]
"""
    return [small.encode(), (root / "gateway.toml").read_bytes()]


def _read_catalogue(raw: bytes, path: Path) -> str:
    path.write_bytes(raw)
    try:
        Catalogue.load(path, {"USERS_URL": "http://users", "KEY": SECRET} if len(raw) % 2 else None)
    except CatalogueError as error:
        wrong = error
    else:
        return "accepted"
    assert wrong.problems
    assert str(wrong)
    return "CatalogueError"


# -- replies -----------------------------------------------------------------------------------------------------------


def _http_replies() -> list[bytes]:
    document = json.dumps({"data": {"user": {"id": SECRET}}}).encode()
    errors = json.dumps({"errors": [{"message": SECRET, "path": ["a"]}], "data": None}).encode()
    json_type, problem = b"content-type: application/json", b"content-type: application/problem+json"
    return [
        b"200\n" + json_type + b"\n\n" + document,
        b"200\n" + json_type + b"\ncontent-encoding: gzip\n\n" + gzip.compress(document * 20),
        b"200\n" + json_type + b"\ncontent-encoding: deflate, gzip\n\n" + gzip.compress(zlib.compress(document)),
        b"200\ncontent-type: text/plain; charset=utf-8\n\ngr\xc3\xbcn",
        b"200\ncontent-type: application/graphql-response+json\n\n" + errors,
        b"400\ncontent-type: application/graphql-response+json\n\n" + errors,
        b"204\n\n",
        b"301\nlocation: http://user:pw@elsewhere/\n\n",
        b"429\nretry-after: 3\n" + problem + b'\n\n{"title": "slow down"}',
        b"503\nretry-after: Wed, 21 Oct 2026 07:28:00 GMT\n" + problem + b"\n\n" + document,
        b"500\ncontent-encoding: br\n\n\x8b\x02\x80hello\x03",
        b"200\ncontent-encoding: zstd\n" + json_type + b"\n\n\x28\xb5\x2f\xfd\x20\x05\x29\x00\x00[1,2]",
    ]


def _read_http(raw: bytes) -> str:
    head, _, body = raw.partition(b"\n\n")
    first, *lines = head.split(b"\n")
    status = int(first) if first.isdigit() and len(first) == 3 else 200
    headers = {}
    for line in lines:
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.strip().lower()] = value.strip()
    outcomes: list[Answer | Failure] = []
    complete = True
    try:
        decoder = BodyDecoder(headers.get("content-encoding", ""), _MOST_REPLY)
        for start in range(0, len(body), 700):
            decoder.feed(body[start : start + 700])
        body = decoder.finish()
    except DecodingError:
        complete = False
    assert len(body) <= max(_MOST_REPLY, len(raw))
    received = Received(status=status, headers=headers, body=body, complete=complete)
    outcomes.append(failure_of_status(status, headers, received.details()))
    if is_answer(status) and complete:
        try:
            data = content_of(received.content_type, body)
        except ContentError:
            pass
        else:
            outcomes.append(Answer(status=status, headers=headers, data=data))
    if len(body) <= 64 * 1024:
        outcomes.append(_finished(_outcome(received)))
    return _name([_checked(outcome) for outcome in outcomes][-1])


def _finished(coroutine: Any) -> Any:
    """The result of a coroutine that has nothing to wait for."""
    try:
        coroutine.send(None)
    except StopIteration as stopped:
        return stopped.value
    raise AssertionError("it waits")


def _checked(outcome: Answer | Failure) -> Answer | Failure:
    """What a worker makes of it can be stored, and read again."""
    if isinstance(outcome, Failure):
        error = outcome.to_error(service="users", operation="GET /", call_id="call-1")
        again = type(error)(*json.loads(json.dumps(error.args)))
        assert again.delivery is error.delivery
        assert str(again)
    return outcome


def _name(outcome: Answer | Failure) -> str:
    return "accepted" if isinstance(outcome, Answer) else outcome.error.__name__


def _grpc_targets() -> list[Target]:
    root = Path(__file__).parents[2]
    endpoint = GrpcEndpoint(target="users:1", protos=["goodgo/user/v1/user.proto"], include=["protos"])
    found = load_files(endpoint, root).library.method("goodgo.user.v1.UserService/GetUser")
    assert isinstance(found, Method)
    method = found
    reply: Any = method.reply()
    reply.user.id, reply.user.name, reply.user.email = "1", SECRET, "a@b"
    messages = [reply.SerializeToString(), b""]

    def read(raw: bytes) -> str:
        data = read_reply(raw, method)
        if isinstance(data, Failure):
            return _name(_checked(data))
        json.dumps(data)
        return "accepted"

    from google.protobuf.any_pb2 import Any as AnyMessage
    from google.rpc import error_details_pb2
    from google.rpc.status_pb2 import Status

    status = Status(code=5, message="no such user")
    details = (
        error_details_pb2.RetryInfo(),
        error_details_pb2.ErrorInfo(reason="R", domain="d", metadata={"a": SECRET}),
        reply,
    )
    for detail in details:
        packed = AnyMessage()
        packed.Pack(detail)
        status.details.append(packed)
    codes = [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK]

    def end(raw: bytes) -> str:
        code = codes[raw[0] % len(codes)] if raw else codes[0]
        text = raw[1:40].decode("utf-8", "replace")
        trailing = Metadata(("grpc-status-details-bin", raw[1:]), ("grpc-retry-pushback-ms", text), ("x", text))
        error = AioRpcError(code, Metadata(), trailing, details=text)
        ended = Ended(error=error, elapsed_s=0.1, timeout_s=1.0, disconnected=len(raw) % 2 == 0, pool=method.pool)
        return _name(_checked(to_failure(ended)))

    return [
        Target("grpc reply", 7, messages, read),
        Target("grpc status", 5, [bytes((number,)) + status.SerializeToString() for number in range(len(codes))], end),
    ]
