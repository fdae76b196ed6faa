"""REST: a `RestCall` as one HTTP request."""

import msgspec
from msgspec import UNSET

from gateway.outcome import Failure
from gateway.rest_call import RestCall, encode_form
from gateway.service import Service
from workers.transports.base import Answer, Attempt, Usage
from workers.transports.http_endpoint import MAX_DETAILS, HttpEndpoint
from workers.transports.origin import RedirectError
from workers.transports.statuses import failure_of_status, is_answer

__all__ = ["RestTransport"]

#: Of 3xx, those that ask for the same request elsewhere (RFC 9110, section 15.4).
_REDIRECTS = (301, 302, 303, 307, 308)


class RestTransport:
    """A service's REST connections; see `workers.transports.base.Transport`.

    A redirect that is followed is the same attempt, within the same bounds.

    Args:
        service: has a `rest` endpoint.

    Raises:
        ValueError: the service has no REST endpoint, or its URL is not one.
    """

    def __init__(self, service: Service) -> None:
        if service.rest is None:
            raise ValueError(f"{service.name} has no `rest.url` in the catalogue")
        self._endpoint = HttpEndpoint(
            f"{service.name}/rest", service.rest.url, service.policy.connections, service.network, service.tls
        )

        self._redirects = service.rest.redirects

    async def send(self, attempt: Attempt) -> Answer | Failure:
        """Make one attempt."""
        call = attempt.call
        if not isinstance(call, RestCall):
            raise TypeError(f"a RestCall is needed, not {type(call).__name__}")
        content, content_type = _body(call)
        headers = {"accept": "application/json, */*;q=0.8"}
        if content_type is not None:
            headers["content-type"] = content_type
        for name, value in call.headers.items():
            headers[name.lower()] = value
        target = self._endpoint.target(call.url_path(), call.query_string())
        followed = 0
        while True:
            received = await self._endpoint.exchange(
                attempt, call.method, target, headers, content, error_bytes=MAX_DETAILS
            )
            if isinstance(received, Failure):
                return received
            if received.status not in _REDIRECTS:
                break
            try:
                self._check_redirect(call, followed, content)
                target = self._endpoint.origin.target_of(received.headers.get("location"), target)
            except RedirectError as error:
                return failure_of_status(received.status, received.headers, received.details(), unfollowed=str(error))
            followed += 1
        if not is_answer(received.status):
            return failure_of_status(received.status, received.headers, received.details())
        if call.method == "HEAD" or received.status in (204, 304):
            return Answer(status=received.status, headers=received.headers, data=None)
        data = await received.content()
        if isinstance(data, Failure):
            return data
        return Answer(status=received.status, headers=received.headers, data=data)

    def _check_redirect(self, call: RestCall, followed: int, content: bytes | None) -> None:
        if not self._redirects:
            raise RedirectError("redirects are not followed; set rest.redirects if those to the same origin are to be")
        if call.method not in ("GET", "HEAD") or content is not None:
            raise RedirectError("only a GET or HEAD without a body is sent again")
        if followed >= self._redirects:
            raise RedirectError(f"more than {self._redirects} of them are not followed (rest.redirects)")

    async def close(self) -> None:
        """Close every connection; calls in flight fail."""
        await self._endpoint.close()

    @property
    def usage(self) -> Usage:
        """See `Transport.usage`."""
        return self._endpoint.usage

    def __repr__(self) -> str:
        return repr(self._endpoint)


def _body(call: RestCall) -> tuple[bytes | None, str | None]:
    """The body and its content type."""
    if call.json is not UNSET:
        return msgspec.json.encode(call.json), "application/json"
    if call.form is not UNSET:
        return encode_form(call.form).encode("ascii"), "application/x-www-form-urlencoded"
    if call.content is not UNSET:
        return call.content, "application/octet-stream" if call.content_type is UNSET else call.content_type
    return None, None
