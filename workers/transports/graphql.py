"""GraphQL over HTTP: a `GraphQLCall` as one POST (https://graphql.github.io/graphql-over-http/draft/)."""

from collections.abc import Mapping
from typing import Any

import msgspec

from gateway.call import GraphQLCall
from gateway.errors import Delivery, GraphQLError
from gateway.outcome import Failure
from gateway.service import Service
from workers.transports.base import Answer, Attempt, Usage
from workers.transports.http_content import is_json, media_type
from workers.transports.http_endpoint import HttpEndpoint, Received
from workers.transports.statuses import failure_of_status, retry_after_s

__all__ = ["GraphQLTransport"]

_GRAPHQL = "application/graphql-response+json"
_HEADERS = {"accept": f"{_GRAPHQL}, application/json;q=0.9", "content-type": "application/json"}


class GraphQLTransport:
    """A service's GraphQL connections; see `workers.transports.base.Transport`.

    Args:
        service: has a `graphql` endpoint.

    Raises:
        ValueError: the service has no GraphQL endpoint, or its URL is not one.
    """

    def __init__(self, service: Service) -> None:
        if service.graphql is None:
            raise ValueError(f"{service.name} has no `graphql.url` in the catalogue")
        self._endpoint = HttpEndpoint(
            f"{service.name}/graphql", service.graphql.url, service.policy.connections, service.network, service.tls
        )
        self._target = self._endpoint.target("", "")

    async def send(self, attempt: Attempt) -> Answer | Failure:
        """Make one attempt. The data of the answer is the `data` of the response."""
        call = attempt.call
        if not isinstance(call, GraphQLCall):
            raise TypeError(f"a GraphQLCall is needed, not {type(call).__name__}")
        body: dict[str, Any] = {"query": call.query, "variables": call.variables}
        if call.operation_name is not None:
            body["operationName"] = call.operation_name
        headers = {**{name.lower(): value for name, value in call.headers.items()}, **_HEADERS}
        content = msgspec.json.encode(body)
        received = await self._endpoint.exchange(
            attempt, "POST", self._target, headers, content, error_bytes=attempt.max_reply_bytes
        )
        if isinstance(received, Failure):
            return received
        return await _outcome(received)

    async def close(self) -> None:
        """Close every connection; calls in flight fail."""
        await self._endpoint.close()

    @property
    def usage(self) -> Usage:
        """See `Transport.usage`."""
        return self._endpoint.usage

    def __repr__(self) -> str:
        return repr(self._endpoint)


async def _outcome(received: Received) -> Answer | Failure:
    if 200 <= received.status < 300:
        return await _outcome_of_success(received)
    # Who may not ask, who asks too often and a server that is down are told by the status, whatever the body explains:
    # that is what retries and breakers go by. Of the others, only this media type says that the body is the GraphQL
    # server's and not some proxy's; 400 with plain JSON is how servers older than it refuse a document.
    media = media_type(received.content_type)
    answered = 400 <= received.status < 500 and received.status not in (401, 403, 408, 425, 429)
    if answered and received.complete and (media == _GRAPHQL or (received.status == 400 and is_json(media))):
        response = await received.content()
        if isinstance(response, Mapping) and _are_errors(response.get("errors")):
            return _failure(received, response)
    return failure_of_status(received.status, received.headers, received.details())


async def _outcome_of_success(received: Received) -> Answer | Failure:
    media = media_type(received.content_type)
    if not is_json(media):
        return received.invalid(f"a GraphQL response is JSON, not {media[:60] or 'a body without a content type'}")
    response = await received.content()
    if isinstance(response, Failure):
        return response
    if not isinstance(response, Mapping):
        return received.invalid("a GraphQL response is an object")
    errors = response.get("errors")
    if errors:
        return (
            _failure(received, response) if _are_errors(errors) else received.invalid("`errors` is no list of objects")
        )
    data = response.get("data")
    if not isinstance(data, Mapping):
        return received.invalid("the response has neither `data` nor `errors`")
    return Answer(status=received.status, headers=received.headers, data=data)


def _are_errors(errors: object) -> bool:
    """Whether it is a list of errors (GraphQL specification, section 7.1.2)."""
    return isinstance(errors, list) and bool(errors) and all(isinstance(error, Mapping) for error in errors)


def _failure(received: Received, response: Mapping[str, Any]) -> Failure:
    errors = response["errors"]
    said = errors[0].get("message")
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return Failure(
        error=GraphQLError,
        message=(said[:500] if isinstance(said, str) and said else "the service gave no message") + more,
        delivery=Delivery.ANSWERED,
        status=received.status,
        retry_after_s=retry_after_s(received.headers, limited=False),
        extra={"errors": errors, "data": response.get("data")},
    )
