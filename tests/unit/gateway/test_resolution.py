"""How a call will be treated: where each value comes from, whether it may be repeated, and how long it can take."""

from typing import Any

import pytest

from gateway import Catalogue, GraphQLCall, GrpcCall, RestCall
from gateway.errors import InvalidCallError, UnknownServiceError
from gateway.policy import SECTIONS, Policy
from gateway.resolution import ADMISSION_S, LAYERS, Resolution, parse_operation

GET_USER = "GET /users/{user_id}"
CATALOGUE = Catalogue.parse(
    {
        "defaults": {"timeouts": {"total": 20.0, "attempt": 2.0}, "retry": {"attempts": 2}},
        "services": {
            "users": {
                "rest": {"url": "http://users"},
                "graphql": {"url": "http://users/graphql"},
                "grpc": {"target": "users:1", "reflection": True},
                "timeouts": {"attempt": 2.5},
                "limit": {"rate": "200/s"},
                "operations": {
                    GET_USER: {"timeouts": {"total": 6.0}, "hedge": {"after": 0.2}},
                    "POST /searches": {"idempotent": True},
                    "a.B/Read": {"idempotent": True},
                    "GET /odd": {"idempotent": False},
                    "GET /users/{user_id}/orders/{order_id}": {},
                },
            },
            "closed": {"rest": {"url": "http://c"}, "operations": {"GET /a": {}}, "only_listed_operations": True},
        },
    }
)


def resolve(text: str, *, service: str = "users", deadline_s: float = 30.0, keyed: bool = False) -> Resolution:
    call = parse_operation(service, text)
    return Resolution.of(CATALOGUE, call, deadline_s=deadline_s, keyed=keyed, visibility_s=320.0)


def origin(resolution: Resolution, key: str) -> tuple[Any, str]:
    (setting,) = [setting for setting in resolution.settings if setting.key == key]
    return setting.value, setting.origin


def test_each_value_says_where_it_is_written() -> None:
    special = resolve(GET_USER)
    assert origin(special, "timeouts.total") == (6.0, f'[services.users.operations."{GET_USER}"]')
    assert origin(special, "hedge.after") == (0.2, f'[services.users.operations."{GET_USER}"]')
    assert origin(special, "timeouts.attempt") == (2.5, "[services.users]")
    assert origin(special, "limit.rate") == ("200/s", "[services.users]")
    assert origin(special, "retry.attempts") == (2, "[defaults]")
    assert origin(special, "retry.backoff") == (0.1, "built in")
    assert origin(special, "deadline") == (30.0, "the call")
    assert origin(resolve("GET /other"), "timeouts.total") == (20.0, "[defaults]")


def test_every_value_of_the_policy_is_shown_once_and_is_the_one_that_acts() -> None:
    resolution = resolve(GET_USER)
    keys = [setting.key for setting in resolution.settings]
    every = {f"{section}.{name}" for section in SECTIONS for name in getattr(Policy(), section).__struct_fields__} | {
        "deadline"
    }
    assert sorted(keys) == sorted(every)
    for setting in resolution.settings:
        section, _, name = setting.key.partition(".")
        if name:
            assert setting.value == getattr(getattr(resolution.policy, section), name)


def test_the_layers_are_shown_in_their_order() -> None:
    order = [layer for layer, _ in LAYERS]
    assert order == ["deadline", "retry", "hedge", "admission", "attempt"]
    shown = [setting.layer for setting in resolve(GET_USER).settings]
    assert sorted(shown, key=order.index) == shown
    assert set(shown) == set(order)


def test_the_layers_are_those_that_a_worker_runs() -> None:
    from workers.executor import LAYERS as RUN

    words = {"repeat": "retry", "admit": "admission"}
    assert [words.get(layer.__name__, layer.__name__) for layer in RUN] == [layer for layer, _ in LAYERS]


@pytest.mark.parametrize(
    ("text", "keyed", "idempotent", "why"),
    [
        ("GET /a", False, True, "GET is (RFC 9110"),
        ("delete /a", False, True, "DELETE is"),
        ("POST /a", False, False, "POST is not"),
        ("POST /a", True, True, "idempotency key"),
        ("POST /searches", False, True, "the catalogue says so"),
        ("GET /odd", False, False, "the catalogue says so"),
        ("GET /odd", True, True, "idempotency key"),
        ("query GetUser", False, True, "a query is"),
        ("query", False, True, "a query is"),
        ("mutation Rename", False, False, "a mutation is not"),
        ("query A($id: ID!) { user(id: $id) { name } }", False, True, "a query is"),
        ("a.B/Write", False, None, "as its descriptor says"),
        ("a.B/Read", False, True, "the catalogue says so"),
        ("a.B/Write", True, True, "idempotency key"),
    ],
)
def test_whether_it_may_be_repeated(text: str, keyed: bool, idempotent: bool | None, why: str) -> None:
    resolution = resolve(text, keyed=keyed)
    assert resolution.idempotent is idempotent
    assert why in resolution.why


def test_the_worst_case_is_bounded_by_the_shortest() -> None:
    by_attempts = resolve("GET /a")  # 2 of 2.5 s, 0.1 s between them and 0.25 s before each, in 20 s
    assert by_attempts.backoffs_s == pytest.approx(0.1)
    assert by_attempts.admissions_s == pytest.approx(0.5)
    assert by_attempts.worst_case_s == by_attempts.attempts_s == pytest.approx(5.6)
    assert by_attempts.bounded_by == "the attempts themselves"
    by_deadline = resolve("GET /a", deadline_s=3.0)
    assert (by_deadline.worst_case_s, by_deadline.bounded_by) == (3.0, "the deadline")
    short = Catalogue.parse({"services": {"u": {"rest": {"url": "http://u"}, "timeouts": {"total": 4.0}}}})
    call = RestCall("u", "GET", "/")
    by_total = Resolution.of(short, call, deadline_s=30.0, keyed=False, visibility_s=None)
    assert (by_total.worst_case_s, by_total.bounded_by) == (4.0, "timeouts.total")


def test_an_attempt_waits_for_its_admission_as_long_as_a_worker_lets_it() -> None:
    from workers.resilience.admit import PATIENCE_S

    assert ADMISSION_S == PATIENCE_S


def test_its_collisions_know_the_deadline_the_broker_and_the_call() -> None:
    assert resolve(GET_USER).collisions == ()
    (short,) = resolve("GET /a", deadline_s=321.0).collisions
    assert "visibility timeout of 320 s" in short
    assert any("timeouts.total of 6 s" in line for line in resolve(GET_USER, deadline_s=5.0).collisions)


def test_a_path_with_its_values_in_is_not_taken_for_its_template() -> None:
    resolution = resolve("GET /users/123")
    assert origin(resolution, "timeouts.total") == (20.0, "[defaults]")
    assert resolution.notes == (f"policies go by the route's template, not by its path; did you mean {GET_USER!r}?",)
    assert "did you mean" in resolve("GET /users/ada/orders/7").notes[0]
    (note,) = resolve("GET /things/42").notes
    assert "looks like a path with its values in" in note
    assert "'/users/{user_id}'" in note


@pytest.mark.parametrize(
    "text", [GET_USER, "GET /users", "POST /users/{user_id}", "query GetUser", "a.B/C", "GET /v1/x"]
)
def test_a_template_is_not_doubted(text: str) -> None:
    assert resolve(text).notes == ()


def test_what_an_operation_is_called() -> None:
    rest = parse_operation("users", "get /users/{user_id}/{x}")
    assert isinstance(rest, RestCall)
    assert rest.operation == "GET /users/{user_id}/{x}"
    assert isinstance(parse_operation("users", "a.b.C/D"), GrpcCall)
    named = parse_operation("users", "mutation Rename")
    assert isinstance(named, GraphQLCall)
    assert named.operation == "mutation Rename"
    assert parse_operation("users", "{ me { name } }").operation == "query"


@pytest.mark.parametrize(
    "text", ["nonsense", "/users", "FETCH /users", "GET", "GET users", "GET /a/../b", "subscription S"]
)
def test_what_is_no_operation(text: str) -> None:
    with pytest.raises(InvalidCallError) as caught:
        parse_operation("users", text)
    assert "; " in caught.value.message


def test_the_catalogue_is_asked_as_at_submit() -> None:
    with pytest.raises(UnknownServiceError, match="did you mean 'users'"):
        resolve("GET /a", service="user")
    with pytest.raises(UnknownServiceError, match="has no grpc endpoint"):
        resolve("a.B/C", service="closed")
    with pytest.raises(InvalidCallError, match="has no operation 'GET /b'"):
        resolve("GET /b", service="closed")
