"""What a line of `allow` allows, and nothing else."""

import pytest

from gateway.call import RestCall
from gateway.permission import Permissions, Rule, readings

ALLOWED = [
    ("user-service GET /users/*", "user-service", "GET /users/{user_id}"),
    ("user-service GET /users/*", "user-service", "GET /users/123"),
    ("user-service GET /users/{user_id}", "user-service", "GET /users/{user_id}"),
    ("user-service GET /users/{user_id}", "user-service", "GET /users/123"),
    ("user-service GET /users/**", "user-service", "GET /users/1/cards/2"),
    ("user-service GET /users/*/cards", "user-service", "GET /users/{id}/cards"),
    ("user-service GET /files/*.pdf", "user-service", "GET /files/a.pdf"),
    ("user-service * /users/*", "user-service", "DELETE /users/1"),
    ("user-service *", "user-service", "GET /users/1/cards"),
    ("user-service **", "user-service", "mutation Delete"),
    ("*-service GET /", "user-service", "GET /"),
    ("* *", "anything", "POST /"),
    ("u goodgo.user.v1.UserService/*", "u", "goodgo.user.v1.UserService/GetUser"),
    ("u goodgo.user.v1.UserService/Get*", "u", "goodgo.user.v1.UserService/GetUser"),
    ("u goodgo.user.*/GetUser", "u", "goodgo.user.v1.UserService/GetUser"),
    ("u query *", "u", "query GetUser"),
    ("u query *", "u", "query"),
    ("u query Get*", "u", "query GetUser"),
    ("u mutation CreateUser", "u", "mutation CreateUser"),
]
DENIED = [
    ("user-service GET /users/*", "user-service", "POST /users/{user_id}"),
    ("user-service GET /users/*", "user-service", "GET /users/1/cards"),
    ("user-service GET /users/*", "user-service", "GET /users/"),
    ("user-service GET /users/*", "user-service", "GET /users"),
    ("user-service GET /users/*", "user-service", "GET /admin/users/1"),
    ("user-service GET /users/*", "user-service2", "GET /users/1"),
    ("user-service GET /users/*", "user-service", "GET /{anything}"),
    ("user-service GET /users/me", "user-service", "GET /users/{user_id}"),
    ("user-service GET /users/**", "user-service", "GET /users/"),
    ("user-service GET /users.json", "user-service", "GET /usersXjson"),
    ("*-service GET /", "service", "GET /"),
    ("u goodgo.user.v1.UserService/*", "u", "goodgo.user.v1.AdminService/GetUser"),
    ("u goodgo.user.v1.UserService/*", "u", "GET /goodgo.user.v1.UserService/x"),
    ("u */*", "u", "DELETE /users"),
    ("u */Get*", "u", "DELETE /GetAll"),
    ("u query *", "u", "mutation GetUser"),
    ("u query Get*", "u", "query"),
    ("u query Get*", "u", "mutation GetUser"),
]
WRONG = [
    ("", "is no service"),
    ("user-service", "names no operation"),
    ("user-service GET", "is no operation"),
    ("user-service GET users/*", "is no operation"),
    ("user-service get /users", "is no operation"),
    ("user-service GET *", "is no operation"),
    ("USER GET /x", "is no service"),
    ("user-service **/x", "is no operation"),
    ("user-service GET /users /x", "is no operation"),
    ("http://user-service GET /x", "is no service"),
]


@pytest.mark.parametrize(("line", "service", "operation"), ALLOWED)
def test_allowed(line: str, service: str, operation: str) -> None:
    assert Rule.parse(line).allows(service, operation)


@pytest.mark.parametrize(("line", "service", "operation"), DENIED)
def test_denied(line: str, service: str, operation: str) -> None:
    assert not Rule.parse(line).allows(service, operation)


@pytest.mark.parametrize(("line", "why"), WRONG)
def test_a_line_that_could_not_allow_anything_is_refused(line: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Rule.parse(line)


@pytest.mark.parametrize(
    ("route", "values", "read"),
    [
        ("/users/{id}", {"id": "1"}, []),
        ("/users/{id}", {"id": "a%b c.d"}, []),
        ("/users/{id}", {"id": "1/cards"}, ["GET /users/1/cards"]),
        ("/users/1%2Fcards", {}, ["GET /users/1/cards"]),
        ("/users/{id}", {"id": "1%2fcards"}, ["GET /users/1/cards"]),
        ("/users/{id}", {"id": "1\uff0fcards"}, ["GET /users/1/cards"]),
    ],
)
def test_what_a_path_may_be_read_as(route: str, values: dict[str, str], read: list[str]) -> None:
    call = RestCall("u", "GET", route, path=values)
    assert list(readings(call)) == [f"GET {route}", *read]


def test_the_first_line_that_allows_is_named_and_without_one_nothing_is() -> None:
    permissions = Permissions(["u GET /a", "u GET /*", "u *"])
    for operation, line in (("GET /a", "u GET /a"), ("GET /b", "u GET /*"), ("POST /b", "u *")):
        rule = permissions.rule_for("u", operation)
        assert rule is not None
        assert rule.line == line
    assert permissions.rule_for("v", "GET /a") is None
    assert Permissions([]).rule_for("u", "GET /a") is None


def test_a_graphql_name_is_a_label() -> None:
    assert Rule.parse("u query GetUser").names_a_label
    assert not any(Rule.parse(f"u {asked}").names_a_label for asked in ("query *", "*", "GET /query", "a.B/query"))
