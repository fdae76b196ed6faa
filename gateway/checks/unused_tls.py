"""Endpoints that do not speak TLS, of a service that says how it should."""

from collections.abc import Iterator
from urllib.parse import urlsplit

from gateway.service import Service

__all__ = ["unused_tls"]


def unused_tls(service: Service) -> Iterator[tuple[str, str]]:
    """Key of the catalogue, and cure, for each endpoint on which the service's `tls` does not act."""
    if service.tls is None:
        return
    for key, endpoint in (("rest.url", service.rest), ("graphql.url", service.graphql)):
        if endpoint is not None and urlsplit(endpoint.url).scheme == "http":
            yield key, "use https://, or take `tls` out"
    if service.grpc is not None and not service.grpc.tls:
        yield "grpc.target", "set grpc.tls = true, or take `tls` out"
