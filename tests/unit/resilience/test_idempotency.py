"""Who says whether a call may be executed twice: key, catalogue, protocol."""

import pytest

from gateway import GraphQLCall, GrpcCall, RestCall
from gateway.call import Call
from workers.resilience.idempotency import asks_method, is_idempotent

POST = RestCall("users", "POST", "/users")
RPC = GrpcCall("users", "users.v1.Users/GetUser")
QUERY = GraphQLCall("users", "query Get { user { id } }")
MUTATION = GraphQLCall("users", "mutation Add { add { id } }")


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"])
def test_methods_that_http_calls_idempotent(method: str) -> None:
    assert is_idempotent(RestCall("users", method, "/users"), key=None, declared=None, method_says=None)


@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_methods_that_it_does_not(method: str) -> None:
    assert not is_idempotent(RestCall("users", method, "/users"), key=None, declared=None, method_says=None)


def test_a_query_is_and_a_mutation_is_not() -> None:
    assert is_idempotent(QUERY, key=None, declared=None, method_says=None)
    assert not is_idempotent(MUTATION, key=None, declared=None, method_says=None)


@pytest.mark.parametrize(("says", "idempotent"), [(True, True), (False, False), (None, False)])
def test_a_grpc_method_says_it(says: bool | None, idempotent: bool) -> None:
    assert is_idempotent(RPC, key=None, declared=None, method_says=says) is idempotent


@pytest.mark.parametrize("call", [POST, MUTATION])
def test_only_grpc_is_asked_for_its_method(call: Call) -> None:
    assert not is_idempotent(call, key=None, declared=None, method_says=True)


@pytest.mark.parametrize("call", [POST, RPC, QUERY, MUTATION], ids=lambda call: call.operation)
def test_the_catalogue_wins_over_the_protocol(call: Call) -> None:
    for says in (True, False, None):
        assert is_idempotent(call, key=None, declared=True, method_says=says)
        assert not is_idempotent(call, key=None, declared=False, method_says=says)


@pytest.mark.parametrize("call", [POST, RPC, QUERY, MUTATION], ids=lambda call: call.operation)
def test_a_key_wins_over_all(call: Call) -> None:
    for declared in (True, False, None):
        assert is_idempotent(call, key="order-42", declared=declared, method_says=False)


@pytest.mark.parametrize("call", [POST, RPC, QUERY, MUTATION], ids=lambda call: call.operation)
@pytest.mark.parametrize("key", ["k", None])
@pytest.mark.parametrize("declared", [True, False, None])
def test_the_method_is_asked_only_where_it_decides(call: Call, key: str | None, declared: bool | None) -> None:
    answers = {is_idempotent(call, key=key, declared=declared, method_says=says) for says in (True, False)}
    assert asks_method(call, key=key, declared=declared) == (len(answers) == 2)
