"""The users over REST, and the HTTP application that GraphQL shares with it."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from examples.user_service.behaviour import HEADER, Behaviours, InvalidBehaviour, Misbehaviour
from examples.user_service.graphql import GraphQLApi
from examples.user_service.journal import Journal
from examples.user_service.users import InvalidUser, KeyReused, UserNotFound, Users
from gateway.server import ServiceAuthMiddleware, ServiceKeys

__all__ = ["build_app"]

Endpoint = Callable[[Request], Awaitable[Response]]

_MISBEHAVIOURS = {
    "fail": (500, "INTERNAL"),
    "unavailable": (503, "UNAVAILABLE"),
    "rate-limit": (429, "RATE_LIMITED"),
}


def build_app(users: Users, keys: ServiceKeys, journal: Journal, behaviours: Behaviours) -> ServiceAuthMiddleware:
    """The ASGI application of REST and GraphQL, behind the service key."""
    api = RestApi(users, journal)
    graphql = GraphQLApi(users)

    def route(path: str, method: str, endpoint: Endpoint) -> Route:
        async def observed(request: Request) -> Response:
            name = await graphql.operation(request) if path == "/graphql" else f"{request.method} {path}"
            with journal.request(name, request.headers):
                return await _answer(name, request, endpoint, behaviours)

        return Route(path, observed, methods=[method])

    app = Starlette(
        routes=[
            Route("/healthz", api.health),
            Route("/stats", api.stats),
            route("/users", "GET", api.list_users),
            route("/users", "POST", api.create_user),
            route("/users/{user_id}", "GET", api.get_user),
            route("/users/{user_id}", "PUT", api.replace_user),
            route("/users/{user_id}", "PATCH", api.change_user),
            route("/users/{user_id}", "DELETE", api.delete_user),
            *(route("/echo", method, api.echo) for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")),
            route("/graphql", "POST", graphql.execute),
        ],
        exception_handlers={HTTPException: _http_error},
    )
    return ServiceAuthMiddleware(app, keys, exempt=("/healthz",))


class RestApi:
    """The endpoints; errors of the store pass through, `_answer` knows their statuses."""

    def __init__(self, users: Users, journal: Journal) -> None:
        self._users = users
        self._journal = journal

    async def health(self, request: Request) -> Response:
        """Whether the service runs; needs no key."""
        return JSONResponse({"status": "ok"})

    async def stats(self, request: Request) -> Response:
        """What arrived; with `?correlation_id=` each request of one call."""
        wanted = request.query_params.get("correlation_id")
        return JSONResponse(
            self._journal.stats() if wanted is None else {"arrivals": self._journal.arrivals(wanted)},
        )

    async def list_users(self, request: Request) -> Response:
        """`GET /users`."""
        return JSONResponse({"users": [user.to_json() for user in self._users.all()]})

    async def create_user(self, request: Request) -> Response:
        """`POST /users`; the same idempotency key makes one user, however often it comes."""
        fields = await _fields(request, required=True)
        key = request.headers.get("idempotency-key")
        user, is_new = self._users.create(**fields, idempotency_key=key)
        headers = {"location": f"/users/{user.id}"}
        if not is_new:
            headers["idempotency-replayed"] = "true"
        return JSONResponse(user.to_json(), status_code=201, headers=headers)

    async def get_user(self, request: Request) -> Response:
        """`GET /users/{user_id}`."""
        return JSONResponse(self._users.get(request.path_params["user_id"]).to_json())

    async def replace_user(self, request: Request) -> Response:
        """`PUT /users/{user_id}`."""
        fields = await _fields(request, required=True)
        return JSONResponse(self._users.change(request.path_params["user_id"], fields).to_json())

    async def change_user(self, request: Request) -> Response:
        """`PATCH /users/{user_id}`."""
        fields = await _fields(request, required=False)
        return JSONResponse(self._users.change(request.path_params["user_id"], fields).to_json())

    async def delete_user(self, request: Request) -> Response:
        """`DELETE /users/{user_id}`."""
        self._users.delete(request.path_params["user_id"])
        return Response(status_code=204)

    async def echo(self, request: Request) -> Response:
        """Say what arrived: method, headers without the key, query and body."""
        body = await request.body()
        decoded: Any
        try:
            decoded = json.loads(body) if body else None
        except ValueError:
            decoded = body.decode("utf-8", "replace")
        return JSONResponse(
            {
                "method": request.method,
                "headers": {name: ", ".join(request.headers.getlist(name)) for name in request.headers},
                "query": {name: request.query_params.getlist(name) for name in request.query_params},
                "body": decoded,
            }
        )


async def _answer(name: str, request: Request, endpoint: Endpoint, behaviours: Behaviours) -> Response:
    """Misbehave if the request asks for it, serve it, and give every error its status."""

    async def gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    wanted = request.headers.get(HEADER, request.query_params.get("behaviour"))
    caller = (name, request.headers.get("x-correlation-id", ""))
    try:
        await behaviours.show(wanted, caller=caller, gone=gone)
        return await endpoint(request)
    except UserNotFound as error:
        return _error(404, "NOT_FOUND", str(error))
    except InvalidUser as error:
        return _error(400, "INVALID_ARGUMENT", str(error), field=error.field)
    except KeyReused as error:
        return _error(422, "IDEMPOTENCY_KEY_REUSED", str(error))
    except InvalidBehaviour as error:
        return _error(400, "INVALID_BEHAVIOUR", str(error))
    except Misbehaviour as error:
        status, code = _MISBEHAVIOURS[error.failure]
        response = _error(status, code, str(error))
        if error.retry_after_s is not None:
            response.headers["retry-after"] = str(error.retry_after_s)
        return response


async def _fields(request: Request, *, required: bool) -> dict[str, str]:
    """The JSON object of a request: `name` and `email`, all of them or some."""
    try:
        body = await request.json()
    except ValueError:
        raise InvalidUser("body", "is not JSON") from None
    if not isinstance(body, dict):
        raise InvalidUser("body", "a JSON object is needed")
    for field in body:
        if field not in ("name", "email"):
            raise InvalidUser(field, "is not a field of a user that can be set")
    for field in ("name", "email"):
        if required and field not in body:
            raise InvalidUser(field, "is missing")
    return body


def _error(status: int, code: str, message: str, **more: str) -> JSONResponse:
    return JSONResponse({"success": False, "error": {"code": code, "message": message, **more}}, status_code=status)


async def _http_error(request: Request, error: Exception) -> Response:
    """Errors of Starlette's own: no such path, no such method."""
    if not isinstance(error, HTTPException):
        raise error
    response = _error(error.status_code, error.detail.upper().replace(" ", "_"), error.detail)
    response.headers.update(error.headers or {})
    return response
