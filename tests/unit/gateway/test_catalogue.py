"""The catalogue: layers of policy, variables, and a clear word about every mistake."""

from pathlib import Path
from typing import Any

import pytest

from gateway import Catalogue, CatalogueError, GraphQLCall, GrpcCall, RestCall
from gateway.errors import InvalidCallError, UnknownServiceError

USERS: dict[str, Any] = {"rest": {"url": "http://users:5000"}, "grpc": {"target": "users:50051", "reflection": True}}


def parse(**tables: Any) -> Catalogue:
    return Catalogue.parse(tables, environ={"USERS_URL": "http://users:5000"})


def test_a_service_without_timeouts_has_the_defaults() -> None:
    timeouts = parse(services={"users": USERS}).services["users"].policy.timeouts
    assert (timeouts.total, timeouts.attempt, timeouts.connect, timeouts.pool) == (10.0, 3.0, 1.0, 1.0)


def test_policy_is_merged_value_by_value() -> None:
    catalogue = parse(
        defaults={"timeouts": {"attempt": 2.0, "connect": 0.5}},
        services={
            "users": {
                **USERS,
                "timeouts": {"attempt": 4.0},
                "operations": {"GET /slow": {"timeouts": {"attempt": 9.0}, "idempotent": False}},
            }
        },
    )
    service = catalogue.services["users"]
    fast, slow = RestCall("users", "GET", "/fast"), RestCall("users", "GET", "/slow")
    assert (service.policy_for(fast).timeouts.attempt, service.policy_for(fast).timeouts.connect) == (4.0, 0.5)
    assert service.policy_for(slow).timeouts.attempt == 9.0
    assert service.policy_for(RestCall("users", "GET", "/slow", attempt_timeout=1.0)).timeouts.attempt == 1.0
    assert service.policy_for(RestCall("users", "GET", "/slow", attempt_timeout=99.0)).timeouts.attempt == 10.0
    assert (service.idempotent(slow), service.idempotent(fast)) == (False, None)


def test_variables_come_from_the_environment_and_are_remembered_if_not() -> None:
    catalogue = parse(
        services={"a": {"rest": {"url": "${USERS_URL}/v1"}}, "b": {"rest": {"url": "http://${H:-local}:1"}}}
    )
    assert catalogue.services["a"].rest is not None
    assert catalogue.services["a"].rest.url == "http://users:5000/v1"
    assert catalogue.services["b"].rest is not None
    assert catalogue.services["b"].rest.url == "http://local:1"
    assert catalogue.written_urls == []
    assert parse(services={"c": {"rest": {"url": "http://users:5000"}}}).written_urls == ["services.c.rest.url"]


def test_a_producer_needs_no_addresses(tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text('[services.users]\nrest.url = "${NOT_SET}"\n')
    assert list(Catalogue.load(file).services) == ["users"]
    with pytest.raises(CatalogueError, match="NOT_SET is not set"):
        Catalogue.load(file, {})


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"service": {}}, "service: is not a key; did you mean 'services'?"),
    ({"services": {"u": {**USERS, "timeout": {}}}}, "services.u.timeout: is not a key; did you mean 'timeouts'?"),
    (
        {"services": {"u": {**USERS, "timeouts": {"conect": 1}}}},
        "services.u.timeouts.conect: is not a key; did you mean",
    ),
    ({"services": {"u": {**USERS, "timeouts": {"total": "x"}}}}, "services.u.timeouts.total = 'x': expected `float`"),
    ({"services": {"u": {**USERS, "timeouts": {"total": 2.0, "attempt": 3.0}}}}, "lower `attempt`"),
    ({"services": {"u": {**USERS, "timeouts": {"connect": 0}}}}, "timeouts.connect = 0.0: a positive number is needed"),
    ({"services": {"u": {**USERS, "limit": {"rate": "fast"}}}}, 'write for example "200/s"'),
    ({"services": {"u": {}}}, "services.u: has no endpoint"),
    ({"services": {"U!": USERS}}, "is not a service name"),
    ({"services": {"u": 3}}, "a table is needed; write [services.u]"),
    ({"services": {"u": {"rest": {"url": "ftp://users"}}}}, "is not an http or https URL"),
    ({"services": {"u": {"rest": {"url": "http://users:port"}}}}, "is not an http or https URL"),
    ({"services": {"u": {"rest": {"url": "http://me:secret@users"}}}}, "has credentials in it"),
    (
        {"services": {"u": {"grpc": {"target": "users:1"}}}},
        "exactly one of protos, descriptor_set and reflection, has 0",
    ),
    ({"services": {"u": {**USERS, "auth": {"type": "magic", "secret": "env:K"}}}}, "is not a scheme"),
    ({"services": {"u": {**USERS, "interceptors": {"before": ["nonsense"]}}}}, "write 'package.module:function'"),
    ({"services": {"u": {**USERS, "policy": {}}}}, "services.u.policy: is not a key"),
    ({"services": {"u": {**USERS, "name": "x"}}}, "services.u.name: is not a key"),
    (
        {"services": {"u": {**USERS, "auth": {"type": "service-key", "secret": "env:K", "header": "x bad"}}}},
        "services.u.auth.header: 'x bad' is not a header name",
    ),
    (
        {"services": {"u": {**USERS, "auth": {"type": "service-key", "secret": "env:K", "header": "Host"}}}},
        "services.u.auth.header = 'Host': is not for credentials",
    ),
    ({"defaults": {"timeouts": {"total": -1}}}, "a positive number is needed"),
    ({"defaults": {"timeout": {}}}, "defaults.timeout: is not a key; did you mean 'timeouts'?"),
    ({"callers": {"orders": {"allow": []}}}, "callers.orders: lacks 'key'; add it"),
]


@pytest.mark.parametrize(("document", "said"), WRONG)
def test_a_mistake_is_named_with_its_cure(document: dict[str, Any], said: str) -> None:
    with pytest.raises(CatalogueError) as caught:
        Catalogue.parse(document, environ={})
    assert said in str(caught.value)


def test_a_secret_written_into_the_file_is_refused_and_not_repeated() -> None:
    with pytest.raises(CatalogueError) as caught:
        parse(services={"u": {**USERS, "auth": {"type": "service-key", "secret": "hunter2"}}})
    assert "auth.secret" in str(caught.value)
    assert "hunter2" not in str(caught.value)
    with pytest.raises(CatalogueError) as caught:
        parse(services={"u": {"rest": {"url": "http://me:hunter2@users"}}})
    assert "hunter2" not in str(caught.value)


def test_all_services_problems_are_shown_at_once() -> None:
    with pytest.raises(CatalogueError) as caught:
        parse(services={"a": {"rest": {"url": "x"}}, "b": {}})
    assert len(caught.value.problems) == 2


def test_unknown_services_protocols_and_operations_are_refused() -> None:
    closed = {**USERS, "operations": {"GET /users": {}}, "only_listed_operations": True}
    catalogue = parse(services={"users": closed})
    assert catalogue.service_for(RestCall("users", "GET", "/users")).name == "users"
    with pytest.raises(UnknownServiceError, match="did you mean 'users'"):
        catalogue.service_for(RestCall("user", "GET", "/users"))
    with pytest.raises(UnknownServiceError, match="has no graphql endpoint"):
        catalogue.service_for(GraphQLCall("users", "{ a }"))
    with pytest.raises(InvalidCallError, match="no operation 'a.B/C'"):
        catalogue.service_for(GrpcCall("users", "a.B/C"))


@pytest.mark.parametrize(("text", "said"), [("a = ", "is not TOML"), (None, "cannot be read")])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, text: str | None, said: str) -> None:
    file = tmp_path / "gateway.toml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(CatalogueError, match=said):
        Catalogue.load(file)


def test_what_is_not_acted_on_is_named() -> None:
    catalogue = parse(
        defaults={"retry": {"attempts": 2}, "timeouts": {"total": 5.0}},
        services={"u": {**USERS, "limit": {"rate": "5/s"}, "operations": {"GET /": {"breaker": {"fail_max": 2}}}}},
        callers={"orders": {"key": "env:K"}},
    )
    assert catalogue.not_acted_on == [
        "defaults.retry",
        "services.u.limit",
        'services.u.operations."GET /".breaker',
        "callers.orders",
    ]
