"""OAuth2 client credentials (RFC 6749, section 4.4): a token is fetched, kept, and fetched anew before it ends."""

import asyncio
import json
import logging
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from time import monotonic
from typing import Any
from urllib.parse import quote_plus, urlsplit

from gateway.auth_scheme import AuthScheme
from gateway.errors import Delivery, ServiceTimeoutError, ServiceUnavailableError
from gateway.outcome import Failure
from gateway.redaction import SECRETS
from workers.auth.scheme import Asked, Credentials, Post, Posted
from workers.secret import Secret

__all__ = ["OAuth2"]

_log = logging.getLogger("gateway.auth")

#: Of a token's life: then a new one is fetched, while this one is still used.
_RENEW_AT = 0.8
#: Seconds before its end from which a token is not sent any more: it has to arrive.
_MARGIN_S = 5.0
#: For a server that does not say.
_LIFE_S = 300.0
#: Seconds that fetching one may take at most, whoever waits for it.
_FETCH_S = 10.0
#: After a failure nobody asks for so long, so that a server that is down is not asked once for each call.
_REST_S = 1.0
#: And a token that was fetched since one was refused is not replaced for that reason for so long.
_RENEWED_S = 10.0


@dataclass(frozen=True, slots=True)
class _Token:
    credentials: Credentials
    renew_at: float
    ends_at: float


class OAuth2:
    """One token for all calls of a service in this process, and one request for it at a time.

    Args:
        settings: of the catalogue.
        environ: where the client's secret is.
        post: sends a form to the token endpoint.
        clock: monotonic seconds.

    Raises:
        SecretError: there is no secret.
    """

    names = frozenset({"authorization"})

    def __init__(
        self, settings: AuthScheme, environ: Mapping[str, str], post: Post, clock: Callable[[], float] = monotonic
    ) -> None:
        self._settings = settings
        self._secret = Secret(settings.secret, environ)
        self._post = post
        self._clock = clock
        self._place = urlsplit(settings.token_url).hostname or settings.token_url
        self._token: _Token | None = None
        self._fetching: asyncio.Task[_Token | Failure] | None = None
        self._failed: tuple[float, Failure] | None = None
        self._renewed_at = float("-inf")

    async def credentials(self, asked: Asked) -> Credentials | Failure:
        """See `Scheme`."""
        token, now = self._token, self._clock()
        if token is not None and now < token.ends_at:
            if now >= token.renew_at and self._fetching is None and not self._rests(now):
                self._fetch()
            return token.credentials
        return await self._new(asked)

    async def refused(self, credentials: Credentials, asked: Asked) -> bool:
        """It was withdrawn: of many calls that are told so at once the first has a new one fetched."""
        token = self._token
        if token is not None and token.credentials is credentials:
            now = self._clock()
            if now < self._renewed_at + _RENEWED_S:
                # The one before it was refused a moment ago: the service means something else.
                return False
            self._token, self._renewed_at = None, now
        elif token is not None:
            return True
        return isinstance(await self._new(asked), Credentials)

    async def _new(self, asked: Asked) -> Credentials | Failure:
        if self._fetching is None:
            now = self._clock()
            if self._failed is not None and self._rests(now):
                return self._failed[1]
            self._fetch()
        fetching = self._fetching
        assert fetching is not None  # noqa: S101 - it was made above
        try:
            async with asyncio.timeout(max(0.0, asked.budget_s)):
                # Whoever gives up leaves it to the others.
                found = await asyncio.shield(fetching)
        except TimeoutError:
            return _failure(ServiceTimeoutError, f"no token from {self._place} in time", phase="connect")
        return found if isinstance(found, Failure) else found.credentials

    def _rests(self, now: float) -> bool:
        return self._failed is not None and now < self._failed[0] + _REST_S

    def _fetch(self) -> None:
        self._fetching = asyncio.get_running_loop().create_task(self._ask())
        self._fetching.add_done_callback(self._fetched)

    def _fetched(self, task: "asyncio.Task[_Token | Failure]") -> None:
        self._fetching = None
        if task.cancelled():
            return
        found = task.result()
        if isinstance(found, Failure):
            self._failed = (self._clock(), found)
            _log.warning("%s", found.message)
        else:
            self._token, self._failed = found, None

    async def _ask(self) -> "_Token | Failure":
        began = self._clock()
        form, headers = self._form()
        try:
            async with asyncio.timeout(_FETCH_S):
                posted = await self._post(form, headers, _FETCH_S)
        except TimeoutError:
            return _failure(ServiceTimeoutError, f"no token from {self._place} within {_FETCH_S:g} s", phase="read")
        if isinstance(posted, Failure) and not posted.repeatable:
            # It may not be asked at all, which is nobody's outage.
            return replace(posted, message=f"no token from {self._place}: {posted.message}")
        if isinstance(posted, Failure):
            return _failure(ServiceUnavailableError, f"no token from {self._place}: {posted.message}")
        return self._read(posted, began)

    def _form(self) -> tuple[dict[str, str], dict[str, str]]:
        settings, secret = self._settings, self._secret.reveal()
        form = {"grant_type": "client_credentials"}
        if settings.scope:
            form["scope"] = settings.scope
        if settings.audience:
            form["audience"] = settings.audience
        if settings.client_auth == "post":
            return form | {"client_id": settings.client_id, "client_secret": secret}, {}
        # Both are encoded before they are joined: RFC 6749, section 2.3.1.
        both = b64encode(f"{quote_plus(settings.client_id)}:{quote_plus(secret)}".encode()).decode()
        SECRETS.register(both)
        return form, {"authorization": f"Basic {both}"}

    def _read(self, posted: Posted, began: float) -> "_Token | Failure":
        """The token of an answer (RFC 6749, section 5.1). What is wrong is told without anything of the answer."""
        if posted.status != 200:
            what = f"it answered {posted.status}"
            if posted.status in (400, 401):
                what += "; are client_id and secret right?"
            return _failure(ServiceUnavailableError, f"no token from {self._place}: {what}")
        try:
            answer: Any = json.loads(posted.body)
            token, kind = answer["access_token"], answer.get("token_type", "Bearer")
            life_s = float(answer.get("expires_in", _LIFE_S))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return _failure(ServiceUnavailableError, f"no token from {self._place}: its answer has none")
        usable = isinstance(token, str) and token.isascii() and token.isprintable() and 0 < len(token) <= 8000
        if not usable or str(kind).lower() != "bearer" or not life_s > 0:
            return _failure(
                ServiceUnavailableError, f"no token from {self._place}: its answer has none that can be sent"
            )
        SECRETS.register(token, lasting=False)
        ends_at = began + max(life_s / 2, life_s - _MARGIN_S)
        credentials = Credentials({"authorization": f"Bearer {token}"})
        return _Token(credentials, renew_at=min(began + life_s * _RENEW_AT, ends_at), ends_at=ends_at)

    def __repr__(self) -> str:
        return f"<OAuth2 {self._place} {self._secret!r}>"


def _failure(error: type[ServiceUnavailableError | ServiceTimeoutError], message: str, **extra: str) -> Failure:
    return Failure(error=error, message=message, delivery=Delivery.NOT_SENT, extra=extra)
