"""How the gateway shows a service who it is, as the catalogue says: the table `auth` of a service."""

from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

import msgspec

from gateway import headers
from gateway.errors import InvalidCallError
from gateway.secret_reference import REFERENCE

__all__ = ["AuthScheme", "auth_problems"]

#: Of the reserved headers, those that may carry a credential.
_FOR_CREDENTIALS = ("x-service-auth", "authorization", "cookie", "proxy-authorization")
_NOT_FOR_CREDENTIALS = frozenset(headers.RESERVED) - set(_FOR_CREDENTIALS)
_MOST_SECRETS = 2


class AuthScheme(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """See `docs/credentials.md`. Which fields there are depends on the type.

    Attributes:
        type: one of `SCHEMES`.
        secret: `env:NAME` or `file:/path`; resolved in the worker, never written down.
        header: `service-key`: name of the header or the gRPC metadata.
        user: `basic`: the user's name.
        secrets: `webhook`, in the place of `secret`: the newest first, while one replaces another.
        token_url: `oauth2`: where tokens are, https://….
        client_id, scope, audience: `oauth2`: of the request for one (RFC 6749, section 4.4); `audience` also `jwt`: the
            claim `aud`, by default the service's name.
        client_auth: `oauth2`: `basic` sends id and secret as a header, `post` as form fields (RFC 6749, section 2.3.1).
        issuer: `jwt`: the claim `iss`.
        ttl: `jwt`: seconds that a token is good for.
        algorithm: `jwt`: where the key does not say enough, such as RS256 for PS256.
    """

    type: str
    secret: str = ""
    header: str = "x-service-auth"
    user: str = ""
    secrets: list[str] = []
    token_url: str = ""
    client_id: str = ""
    scope: str = ""
    audience: str = ""
    client_auth: str = "basic"
    issuer: str = "call-gateway"
    ttl: float = 60.0
    algorithm: str = ""

    @property
    def references(self) -> list[str]:
        """Of all its secrets."""
        return self.secrets or [self.secret]


#: Type → fields that it needs, and fields that it may have.
SCHEMES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "service-key": (("secret",), ("header",)),
    "bearer": (("secret",), ()),
    "basic": (("user", "secret"), ()),
    "oauth2": (("token_url", "client_id", "secret"), ("scope", "audience", "client_auth")),
    "jwt": (("secret",), ("audience", "issuer", "ttl", "algorithm")),
    "webhook": ((), ("secret", "secrets")),
}
_ALGORITHMS = ("HS256", "HS384", "HS512", "EdDSA", "Ed25519", "ES256", "ES384", "RS256", "PS256")


def auth_problems(key: str, scheme: AuthScheme, protocols: Sequence[str], *, resolved: bool) -> Iterator[str]:
    """One line for each thing that is wrong with an `auth` table.

    Args:
        key: of the service's table.
        scheme: what is written there.
        protocols: that the service speaks.
        resolved: whether variables are resolved.
    """
    place = f"{key}.auth"
    if scheme.type not in SCHEMES:
        yield f"{place}.type = {scheme.type!r}: is not a scheme; use {', '.join(map(repr, SCHEMES))}"
        return
    needed, optional = SCHEMES[scheme.type]
    for field in AuthScheme.__struct_fields__[1:]:
        given = _is_given(scheme, field)
        if field in needed and not given:
            yield f"{place}: lacks {field!r}; add it"
        elif given and field not in (*needed, *optional):
            fields = ", ".join((*needed, *optional))
            yield f"{place}.{field}: is not a key of {scheme.type!r}; it can have {fields}"
    for reference in (scheme.secret, *scheme.secrets):
        if reference and not REFERENCE.fullmatch(reference):
            # The value is not shown: it may be the secret itself.
            yield f"{place}.secret: is not a reference; write 'env:NAME' or 'file:/path', never the secret itself"
    yield from _of_type(place, scheme, protocols, resolved)


def _is_given(scheme: AuthScheme, field: str) -> bool:
    value: Any = getattr(scheme, field)
    default: Any = {info.name: info.default for info in msgspec.structs.fields(AuthScheme)}[field]
    return bool(value) and value != default


def _of_type(place: str, scheme: AuthScheme, protocols: Sequence[str], resolved: bool) -> Iterator[str]:
    match scheme.type:
        case "service-key":
            name = scheme.header.lower()
            try:
                headers.check({scheme.header: "x"}, field=f"{place}.header", reserved=False)
            except InvalidCallError as error:
                yield str(error)
            if name in _NOT_FOR_CREDENTIALS or name.startswith("grpc-"):
                yield f"{place}.header = {scheme.header!r}: is not for credentials; use 'x-service-auth'"
        case "basic" if ":" in scheme.user or not scheme.user.isprintable():
            yield f"{place}.user = {scheme.user!r}: has a ':' or is no line (RFC 7617, section 2); correct it"
        case "oauth2":
            if resolved and urlsplit(scheme.token_url).scheme not in ("http", "https"):
                yield f"{place}.token_url = {scheme.token_url!r}: is not an address; write 'https://host/path'"
            if scheme.client_auth not in ("basic", "post"):
                yield f"{place}.client_auth = {scheme.client_auth!r}: is not known; use 'basic' or 'post'"
        case "jwt":
            if not 1 <= scheme.ttl <= 3600:
                yield f"{place}.ttl = {scheme.ttl:g}: is not between 1 and 3600 seconds; use 60"
            if scheme.algorithm and scheme.algorithm not in _ALGORITHMS:
                yield f"{place}.algorithm = {scheme.algorithm!r}: is not known; use one of {', '.join(_ALGORITHMS)}"
        case "webhook":
            if bool(scheme.secret) == bool(scheme.secrets):
                yield f"{place}: needs one of secret and secrets; {'keep one' if scheme.secret else 'add secret'}"
            if len(scheme.secrets) > _MOST_SECRETS:
                yield f"{place}.secrets: has {len(scheme.secrets)}; {_MOST_SECRETS} are enough to replace one"
            if "grpc" in protocols:
                yield (
                    f"{place}.type = 'webhook': signs bodies of HTTP requests, and the service has gRPC too; write its"
                    " gRPC endpoint as a service of its own"
                )
