"""Where tokens are fetched: one form out, one small answer in, over the same kind of connections as services."""

from collections.abc import Mapping
from urllib.parse import urlencode

from gateway.call import RestCall
from gateway.network import Network
from gateway.outcome import Failure
from gateway.policy import Connections, Timeouts
from workers.attempt import Attempt
from workers.auth import Posted
from workers.redacted import redacted
from workers.transports.http_endpoint import HttpEndpoint

__all__ = ["TokenEndpoint"]

#: Bytes of an answer: a token and a few words about it.
_MOST_BYTES = 64 * 1024


class TokenEndpoint:
    """Belongs to one event loop; it connects on first use.

    Args:
        service: whose tokens they are.
        url: the token endpoint.
        timeouts: of the service: `connect` and `pool` are used.
        network: of the service: the same addresses are allowed.

    Raises:
        ValueError: the URL is not one.
    """

    def __init__(self, service: str, url: str, timeouts: Timeouts, network: Network) -> None:
        self._service = service
        self._timeouts = timeouts
        self._endpoint = HttpEndpoint(f"{service}/token", url, Connections(max=2), network)

    async def post(self, form: Mapping[str, str], headers: Mapping[str, str], timeout_s: float) -> Posted | Failure:
        """Send a form. Whatever the status, the answer is returned; a failure is no answer."""
        attempt = Attempt(
            call=RestCall(self._service, "POST", "/"),
            number=1,
            headers=headers,
            timeouts=self._timeouts,
            budget_s=timeout_s,
            max_reply_bytes=_MOST_BYTES,
            max_messages=1,
        )
        named = {"accept": "application/json", "content-type": "application/x-www-form-urlencoded"}
        content = urlencode(form).encode("ascii")
        target = self._endpoint.target("", "")
        received = await self._endpoint.exchange(attempt, "POST", target, named, content, error_bytes=_MOST_BYTES)
        # A failure tells what is wrong with an answer, which may say the client's secret back.
        return redacted(received) if isinstance(received, Failure) else Posted(received.status, received.body)

    async def close(self) -> None:
        """Close its connections."""
        await self._endpoint.close()
