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
    ({"services": {"u": {**USERS, "tables": {}}}}, "services.u.tables: is not a key"),
    ({"services": {"u": {**USERS, "retry": 3}}}, "services.u.retry = 3: a table is needed; write retry = { … }"),
    ({"services": {"u": {**USERS, "operations": 3}}}, "services.u.operations = 3: a table is needed"),
    (
        {"services": {"u": {**USERS, "hedge": {"aftr": 1.0}}}},
        "services.u.hedge.aftr: is not a key; did you mean 'after'?",
    ),
    (
        {"services": {"u": {**USERS, "operations": {"GET /": {"breaker": {"fail_max": 2}}}}}},
        (
            'services.u.operations."GET /".breaker: all operations of a service share one `breaker`;'
            " move it to [services.u]"
        ),
    ),
    (
        {"services": {"u": {**USERS, "operations": {"GET /": {"limit": {"rate": "1/s"}}}}}},
        'services.u.operations."GET /".limit: all operations of a service share one `limit`; move it to [services.u]',
    ),
    (
        {"services": {"u": {**USERS, "operations": {"GET /": {"timeout": {}}}}}},
        "services.u.operations.\"GET /\".timeout: is not a key; did you mean 'timeouts'?",
    ),
    (
        {"services": {"u": {**USERS, "operations": {"GET /": {"retry": {"budget": 0.1}}}}}},
        'services.u.operations."GET /".retry.budget: all operations of a service share one budget',
    ),
    ({"services": {"u": {**USERS, "operations": {"GET /": 3}}}}, 'write [services.u.operations."GET /"]'),
    (
        {"services": {"u": {**USERS, "operations": {"GET /": {"retry": 3}}}}},
        'services.u.operations."GET /".retry = 3: a table is needed',
    ),
    (
        {"services": {"u": {**USERS, "operations": {"GET /": {"retry": {"attempts": "x"}}}}}},
        "services.u.operations.\"GET /\".retry.attempts = 'x': expected `int`",
    ),
    (
        {"services": {"u": {**USERS, "operations": {"GET /": {"timeouts": {"attempt": 60.0}}}}}},
        'services.u.operations."GET /".timeouts',
    ),
    (
        {"services": {"u": {**USERS, "operations": {"GET /": {"idempotent": "yes"}}}}},
        "services.u.operations.\"GET /\".idempotent = 'yes': expected `bool",
    ),
    (
        {"services": {"u": {**USERS, "breaker": {"slow_call": 3.5}}}},
        (
            "services.u.breaker.slow_call = 3.5: is longer than timeouts.attempt = 3, so no call is ever slow;"
            " lower `slow_call`"
        ),
    ),
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


def test_a_mistake_of_a_service_is_not_repeated_for_its_operations() -> None:
    wrong = {**USERS, "timeouts": {"total": -1.0}, "operations": {"GET /a": {"retry": {"attempts": 1}}, "GET /b": {}}}
    with pytest.raises(CatalogueError) as caught:
        parse(services={"u": wrong})
    (problem,) = caught.value.problems
    assert problem.startswith("services.u.timeouts: timeouts.total = -1.0: a positive number is needed")


def test_a_call_is_slow_if_any_operation_lets_it_be() -> None:
    slow = {"breaker": {"slow_call": 5.0}, "operations": {"GET /slow": {"timeouts": {"attempt": 5.0}}}}
    assert parse(services={"u": {**USERS, **slow}}).services["u"].policy.breaker.slow_call == 5.0


def test_what_is_written_is_kept_apart_from_what_is_resolved() -> None:
    catalogue = parse(
        defaults={"retry": {"attempts": 2}},
        services={"u": {**USERS, "limit": {"rate": "5/s"}, "operations": {"GET /": {"hedge": {"after": 0.1}}}}},
    )
    service = catalogue.services["u"]
    assert catalogue.defaults == {"retry": {"attempts": 2}}
    assert service.tables == {"limit": {"rate": "5/s"}}
    assert service.operations["GET /"].tables()["hedge"] == {"after": 0.1}
    policy = service.policy_for(RestCall("u", "GET", "/"))
    assert (policy.retry.attempts, policy.limit.rate, policy.hedge.after) == (2, "5/s", 0.1)
