"""The users over GraphQL (specification of October 2021), as an endpoint of the HTTP application."""

import logging
from typing import Any, TypeAlias

from ariadne import MutationType, ObjectType, QueryType, graphql, make_executable_schema
from graphql import GraphQLError, GraphQLResolveInfo, get_operation_ast, parse
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from examples.user_service.users import InvalidUser, KeyReused, User, UserNotFound, Users

__all__ = ["GraphQLApi"]

Info: TypeAlias = GraphQLResolveInfo[dict[str, Any]]

_SCHEMA = """
    type Query {
        "One user; null and an error where there is none."
        user(id: ID!): User
        users: [User!]!
    }

    type Mutation {
        createUser(name: String!, email: String!): User!
        renameUser(id: ID!, name: String!): User!
    }

    type User {
        id: ID!
        name: String!
        email: String!
        "Null where there is none; an error beside the data where the manager is gone."
        manager: User
    }
"""

_RESPONSE_TYPE = "application/graphql-response+json"

# Errors are answers to the caller here; ariadne would write a traceback for each.
_quiet = logging.getLogger("examples.user_service.graphql")
_quiet.addHandler(logging.NullHandler())
_quiet.propagate = False


def _error(error: ValueError | LookupError) -> GraphQLError:
    """An error of the store as GraphQL shows it."""
    if isinstance(error, UserNotFound):
        return GraphQLError(str(error), extensions={"code": "NOT_FOUND", "user_id": error.user_id})
    if isinstance(error, InvalidUser):
        return GraphQLError(str(error), extensions={"code": "BAD_USER_INPUT", "field": error.field})
    return GraphQLError(str(error), extensions={"code": "IDEMPOTENCY_KEY_REUSED"})


class GraphQLApi:
    """The schema and its resolvers."""

    def __init__(self, users: Users) -> None:
        self._users = users
        query, mutation, user = QueryType(), MutationType(), ObjectType("User")
        query.set_field("user", lambda _, info, id: self._get(id))  # noqa: A006 - the schema's name
        query.set_field("users", lambda _, info: users.all())
        mutation.set_field("createUser", self._create)
        mutation.set_field("renameUser", self._rename)
        user.set_field("manager", self._manager)
        self._schema = make_executable_schema(_SCHEMA, query, mutation, user)

    def _get(self, user_id: str) -> User:
        try:
            return self._users.get(user_id)
        except (UserNotFound, InvalidUser) as error:
            raise _error(error) from error

    def _manager(self, user: User, info: Info) -> User | None:
        return None if user.manager_id is None else self._get(user.manager_id)

    def _create(self, _: None, info: Info, *, name: str, email: str) -> User:
        try:
            return self._users.create(name=name, email=email, idempotency_key=info.context["idempotency_key"])[0]
        except (InvalidUser, KeyReused) as error:
            raise _error(error) from error

    def _rename(self, _: None, info: Info, *, id: str, name: str) -> User:  # noqa: A002 - the schema's
        try:
            return self._users.change(id, {"name": name})
        except (UserNotFound, InvalidUser) as error:
            raise _error(error) from error

    async def operation(self, request: Request) -> str:
        """What a request asks for, such as `query GetUser`; `GraphQL` where that cannot be read."""
        try:
            body = await request.json()
            found = get_operation_ast(parse(body["query"]), body.get("operationName"))
        except (ValueError, KeyError, TypeError, GraphQLError):
            found = None
        if found is None:
            return "GraphQL"
        return f"{found.operation.value} {found.name.value}" if found.name else found.operation.value

    async def execute(self, request: Request) -> Response:
        """`POST /graphql`: 200 where the operation was executed, with or without errors; else 400."""
        body: Any
        try:
            body = await request.json()
        except ValueError:
            body = None
        success, result = await graphql(
            self._schema,
            body,
            context_value={"idempotency_key": request.headers.get("idempotency-key")},
            logger=_quiet,
        )
        # "GraphQL over HTTP", section 6: the newer media type only for those who ask for it.
        media_type = _RESPONSE_TYPE if _RESPONSE_TYPE in request.headers.get("accept", "") else "application/json"
        return JSONResponse(result, status_code=200 if success else 400, media_type=media_type)
