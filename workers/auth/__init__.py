"""How the gateway shows a service who it is: one file a scheme, all of the type `Scheme`."""

from collections.abc import Mapping

from gateway.auth_scheme import AuthScheme
from workers.auth.fixed import basic, bearer, service_key
from workers.auth.jwt import Jwt
from workers.auth.oauth2 import OAuth2
from workers.auth.scheme import Asked, Credentials, Post, Posted, Scheme
from workers.auth.webhook import Webhook

__all__ = ["Asked", "Credentials", "Post", "Posted", "Scheme", "make_scheme"]


def make_scheme(settings: AuthScheme, environ: Mapping[str, str], *, service: str, post: Post | None) -> Scheme:
    """The scheme that the catalogue names.

    Args:
        settings: of the catalogue, which has refused every other type already.
        environ: where secrets are.
        service: its name.
        post: sends a form to `token_url`, if it has one.

    Raises:
        SecretError: a secret cannot be read, or is not what the scheme needs.
    """
    match settings.type:
        case "bearer":
            return bearer(settings, environ)
        case "basic":
            return basic(settings, environ)
        case "oauth2":
            assert post is not None  # noqa: S101 - the catalogue has seen to its `token_url`
            return OAuth2(settings, environ, post)
        case "jwt":
            return Jwt(settings, environ, service)
        case "webhook":
            return Webhook(settings, environ)
    return service_key(settings, environ)
