"""What a call accepts, and what it refuses before anything is enqueued."""

import datetime
from collections.abc import Callable
from typing import Any

import pytest

from gateway import Call, GraphQLCall, GrpcCall, RestCall
from gateway.errors import InvalidCallError


def get(route: str = "/users/{user_id}", **fields: Any) -> RestCall:
    return RestCall("user-service", "GET", route, **fields)


REFUSED: list[tuple[str, Callable[[], Call], str]] = [
    ("an absolute URL as a path", lambda: get("http://evil.example/users"), "route"),
    ("a protocol-relative URL", lambda: get("//evil.example/users"), "route"),
    ("a path that is not absolute", lambda: get("users"), "route"),
    ("a '..' segment", lambda: get("/users/../admin"), "route"),
    ("a '.' segment", lambda: get("/users/./1"), "route"),
    ("a percent-encoded '..' segment", lambda: get("/users/%2e%2E/admin"), "route"),
    ("a doubly encoded '..' segment", lambda: get("/users/%252e%252e/admin"), "route"),
    ("'..' hidden behind an encoded slash", lambda: get("/users/..%2fadmin"), "route"),
    ("'..' with a path parameter", lambda: get("/users/..;x=1/admin"), "route"),
    ("a backslash", lambda: get("/users\\..\\admin"), "route"),
    ("an encoded backslash", lambda: get("/users%5c..%5cadmin"), "route"),
    ("an encoded NUL", lambda: get("/users%00"), "route"),
    ("a query in the route", lambda: get("/users?admin=1"), "route"),
    ("a fragment in the route", lambda: get("/users#x"), "route"),
    ("a space in the route", lambda: get("/users /1"), "route"),
    ("CRLF in the route", lambda: get("/users\r\nX: 1"), "route"),
    ("a brace that is no parameter", lambda: get("/users/{}"), "route"),
    ("a missing path parameter", lambda: get(), "path.user_id"),
    ("a path parameter too many", lambda: get(path={"user_id": "1", "other": "2"}), "path.other"),
    ("an empty path parameter", lambda: get(path={"user_id": ""}), "path.user_id"),
    ("'..' as a path parameter", lambda: get(path={"user_id": ".."}), "path"),
    ("two parameters that make '..'", lambda: get("/{a}{b}/x", path={"a": ".", "b": "."}), "path"),
    ("a list as a path parameter", lambda: get(path={"user_id": ["1"]}), "path.user_id"),
    ("a path parameter that is not Unicode", lambda: get(path={"user_id": "\ud800"}), "path.user_id"),
    ("a float that is no number in the query", lambda: get("/users", query={"x": float("nan")}), "query.x"),
    ("a dict in the query", lambda: get("/users", query={"x": {"y": 1}}), "query.x"),
    ("CR and LF in a header", lambda: get("/users", headers={"x-a": "1\r\nx-b: 2"}), "headers.x-a"),
    ("a lone LF in a header", lambda: get("/users", headers={"x-a": "1\n"}), "headers.x-a"),
    ("CRLF in a header's name", lambda: get("/users", headers={"x-a\r\n": "1"}), "headers"),
    ("a header value that is not ASCII", lambda: get("/users", headers={"x-a": "ä"}), "headers.x-a"),
    ("a header value that is a number", lambda: get("/users", headers={"x-a": 1}), "headers.x-a"),
    ("a header that is too long", lambda: get("/users", headers={"x-a": "1" * 8193}), "headers.x-a"),
    (
        "x_service_auth, which CGI reads as x-service-auth",
        lambda: get("/users", headers={"x_service_auth": "k"}),
        "headers.x_service_auth",
    ),
    ("None in a list", lambda: get("/users", query={"a": [None]}), "query.a"),
    ("a name that is not Unicode", lambda: get("/users", query={"\ud800": 1}), "query"),
    ("an integer without end in the path", lambda: get(path={"user_id": 10**5000}), "path.user_id"),
    ("a timeout without end", lambda: get("/users", attempt_timeout=10**400), "attempt_timeout"),
    ("binary metadata that is not base64", lambda: GrpcCall("u", "a.B/C", metadata={"x-bin": "!"}), "metadata.x-bin"),
    ("a header twice", lambda: get("/users", headers={"X-A": "1", "x-a": "2"}), "headers.x-a"),
    ("host", lambda: get("/users", headers={"Host": "evil.example"}), "headers.Host"),
    ("x-service-auth", lambda: get("/users", headers={"X-Service-Auth": "k"}), "headers.X-Service-Auth"),
    ("authorization", lambda: get("/users", headers={"Authorization": "k"}), "headers.Authorization"),
    ("content-length", lambda: get("/users", headers={"content-length": "1"}), "headers.content-length"),
    ("transfer-encoding", lambda: get("/users", headers={"transfer-encoding": "chunked"}), "headers.transfer-encoding"),
    ("x-forwarded-for", lambda: get("/users", headers={"x-forwarded-for": "10.0.0.1"}), "headers.x-forwarded-for"),
    ("an integer without end", lambda: get("/users", json=[10**5000]), "json[0]"),
    ("x-request-id", lambda: get("/users", headers={"x-request-id": "1"}), "headers.x-request-id"),
    ("a body that is not JSON", lambda: get("/users", json={"at": datetime.date(2026, 1, 1)}), "json.at"),
    ("NaN in a body", lambda: get("/users", json=[float("nan")]), "json[0]"),
    ("a set in a body", lambda: get("/users", json={"a": {"b": {1}}}), "json.a.b"),
    ("a key that is not a string", lambda: get("/users", json={1: 2}), "json"),
    ("two bodies", lambda: get("/users", json=1, form={"a": "b"}), "form"),
    ("content that is text", lambda: get("/users", content="text"), "content"),
    ("a content type without content", lambda: get("/users", content_type="text/plain"), "content_type"),
    ("CRLF in a content type", lambda: get("/users", content=b"", content_type="a/b\r\nx: y"), "content_type"),
    ("a method that shows the credentials", lambda: RestCall("user-service", "TRACE", "/"), "method"),
    ("a method that tunnels", lambda: RestCall("user-service", "CONNECT", "/"), "method"),
    ("a method with CRLF", lambda: RestCall("user-service", "GET / HTTP/1.1\r\n", "/"), "method"),
    ("a URL as a service", lambda: RestCall("http://evil.example", "GET", "/"), "service"),
    ("an empty service", lambda: RestCall("", "GET", "/"), "service"),
    ("a timeout of zero", lambda: get("/users", attempt_timeout=0), "attempt_timeout"),
    ("a timeout that is a bool", lambda: get("/users", attempt_timeout=True), "attempt_timeout"),
    ("a gRPC method without a service", lambda: GrpcCall("user-service", "GetUser"), "method"),
    ("a gRPC method with a scheme", lambda: GrpcCall("user-service", "http://x/GetUser"), "method"),
    ("a gRPC request that is not JSON", lambda: GrpcCall("user-service", "a.B/C", {"x": b"1"}), "request.x"),
    ("a gRPC request that is a list", lambda: GrpcCall("user-service", "a.B/C", []), "request"),  # type: ignore[arg-type]
    (
        "metadata of gRPC itself",
        lambda: GrpcCall("u", "a.B/C", metadata={"grpc-timeout": "1S"}),
        "metadata.grpc-timeout",
    ),
    ("metadata in upper case", lambda: GrpcCall("u", "a.B/C", metadata={"X-A": "1"}), "metadata.X-A"),
    ("LF in metadata", lambda: GrpcCall("u", "a.B/C", metadata={"x-a": "1\n2"}), "metadata.x-a"),
    ("an empty document", lambda: GraphQLCall("u", "  "), "query"),
    ("a document that is a list", lambda: GraphQLCall("u", ["{ a }"]), "query"),  # type: ignore[arg-type]
    ("a document that is not Unicode", lambda: GraphQLCall("u", "{ a } #\ud800"), "query"),
    (
        "an operation name that is a list",
        lambda: GraphQLCall("u", "query A { a }", operation_name=[]),  # type: ignore[arg-type]
        "operation_name",
    ),
    ("a subscription", lambda: GraphQLCall("u", "subscription S { a }"), "query"),
    ("an unbalanced document", lambda: GraphQLCall("u", "query Q { a "), "query"),
    ("two operations and no name", lambda: GraphQLCall("u", "query A { a } query B { b }"), "operation_name"),
    ("a name that is not there", lambda: GraphQLCall("u", "query A { a }", operation_name="B"), "operation_name"),
    ("variables that are not JSON", lambda: GraphQLCall("u", "{ a }", {"x": {1}}), "variables.x"),
]


@pytest.mark.parametrize(("make", "field"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_a_wrong_call_names_its_field_and_the_cure(make: Callable[[], Call], field: str) -> None:
    with pytest.raises(InvalidCallError) as caught:
        make()
    assert caught.value.field == field
    assert caught.value.cure
    assert caught.value.cure in str(caught.value)
    assert str(caught.value).startswith(field)


def test_path_values_cannot_leave_their_segment() -> None:
    call = get("/users/{user_id}/posts", path={"user_id": "a/b?c#d é%"})
    assert call.url_path() == "/users/a%2Fb%3Fc%23d%20%C3%A9%25/posts"


def test_numbers_and_booleans_become_text() -> None:
    call = get(
        "/users/{user_id}", path={"user_id": 7}, query={"active": True, "page": 2, "tag": ["a b", "c&d"], "no": None}
    )
    assert call.url_path() == "/users/7"
    assert call.query_string() == "active=true&page=2&tag=a+b&tag=c%26d"


def test_methods_are_case_insensitive_and_say_whether_they_repeat_safely() -> None:
    assert RestCall("u", "put", "/").method == "PUT"
    safe = {
        method
        for method in ("GET", "HEAD", "OPTIONS", "PUT", "DELETE", "POST", "PATCH")
        if RestCall("u", method, "/").idempotent
    }
    assert safe == {"GET", "HEAD", "OPTIONS", "PUT", "DELETE"}


def test_a_call_is_frozen() -> None:
    with pytest.raises(AttributeError):
        get("/users").service = "other"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("document", "operation", "idempotent"),
    [
        ("{ user { id } }", "query", True),
        ("query GetUser($id: ID!) { user(id: $id) { id } }", "query GetUser", True),
        ("mutation Rename { rename { id } }", "mutation Rename", False),
        ('# mutation\nquery Q { a(b: "mutation { }") }', "query Q", True),
        ('query Q { a(b: """ } mutation M { "quoted" \\""" """) }', "query Q", True),
        ("#x\rmutation\n{ pay }", "mutation", False),
        ("fragment F on User { id } mutation M($a: [Int!] = [1]) @d(x: {y: 1}) { a { ...F } }", "mutation M", False),
        ("query ($id: ID!) @live { a }", "query", True),
    ],
)
def test_a_document_names_its_operation(document: str, operation: str, idempotent: bool) -> None:
    call = GraphQLCall("u", document)
    assert (call.operation, call.idempotent) == (operation, idempotent)


def test_operation_name_chooses() -> None:
    document = "query A { a } mutation B { b }"
    assert GraphQLCall("u", document, operation_name="A").idempotent
    assert not GraphQLCall("u", document, operation_name="B").idempotent


def test_a_call_keeps_copies() -> None:
    body, query, headers = {"a": [1]}, {"tag": ["a"]}, {"x-a": "1"}
    call = RestCall("u", "POST", "/", query=query, headers=headers, json=body)
    body["a"].append(2)
    query["tag"].append("b")
    headers["x-b"] = "1\r\n"
    assert (call.json, call.query_string(), call.headers) == ({"a": [1]}, "tag=a", {"x-a": "1"})
