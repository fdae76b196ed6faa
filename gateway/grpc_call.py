"""A gRPC call."""

import base64
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from gateway import headers
from gateway.base_call import BaseCall, check_mapping, check_service, check_timeout, keep_copy
from gateway.errors import InvalidCallError
from gateway.plain_json import check_plain_json

__all__ = ["GrpcCall"]

_GRPC_METHOD = re.compile(r"(?:[A-Za-z_]\w*\.)*[A-Za-z_]\w*/[A-Za-z_]\w*", re.ASCII)
#: gRPC over HTTP/2, "Header-Name": narrower than that of HTTP.
_METADATA_NAME = re.compile(r"[0-9a-z_.-]+")


class _GrpcTarget(BaseCall, frozen=True):
    method: str
    request: Mapping[str, Any] = msgspec.field(default_factory=dict)


class GrpcCall(_GrpcTarget, frozen=True, kw_only=True, tag="grpc"):
    """A gRPC call, unary or server streaming (the messages are collected).

    Args:
        service: the service's name in the catalogue.
        method: full name of the method, `"package.Service/Method"`.
        request: the request message as JSON (protobuf's JSON mapping; field names as in the `.proto` or in camelCase).
        metadata: request metadata, names in lower case; the value of a `-bin` name is base64.
        attempt_timeout: seconds for one attempt, instead of the service's policy.

    Raises:
        InvalidCallError: names the field and the cure.
    """

    metadata: Mapping[str, str] = msgspec.field(default_factory=dict)
    attempt_timeout: float | None = None

    def __post_init__(self) -> None:
        check_service(self.service)
        method = self.method.removeprefix("/") if isinstance(self.method, str) else self.method
        if not isinstance(method, str) or not _GRPC_METHOD.fullmatch(method):
            raise InvalidCallError.because(
                "method", f"{self.method!r} is not a gRPC method", "pass 'package.Service/Method'"
            )
        msgspec.structs.force_setattr(self, "method", method)
        check_mapping("request", self.request)
        msgspec.structs.force_setattr(self, "request", check_plain_json(self.request, field="request"))
        headers.check(self.metadata, field="metadata")
        for name in self.metadata:
            if name != name.lower():
                raise InvalidCallError.because(
                    f"metadata.{name}", "names of gRPC metadata are in lower case", f"write {name.lower()!r}"
                )
            if not _METADATA_NAME.fullmatch(name):
                raise InvalidCallError.because(
                    f"metadata.{name}", "gRPC does not allow the name", "use a-z, 0-9, '_', '.' and '-'"
                )
            if name == "content-type":
                raise InvalidCallError.because(f"metadata.{name}", "it is reserved for gRPC itself", "leave it out")
            if name.endswith("-bin"):
                _check_base64(name, self.metadata[name])
        check_timeout(self.attempt_timeout)
        keep_copy(self, "metadata")

    @property
    def operation(self) -> str:
        """Name of what is asked."""
        return self.method

    @property
    def idempotent(self) -> bool:
        """False: only the method's descriptor or the catalogue, both in the worker, can say otherwise."""
        return False


def _check_base64(name: str, value: str) -> None:
    """Padded or not, as gRPC itself takes it."""
    try:
        base64.b64decode(value + "=" * (-len(value) % 4), validate=True)
    except ValueError:
        raise InvalidCallError.because(
            f"metadata.{name}", "the value of a '-bin' name is base64", "encode the bytes with base64.b64encode"
        ) from None
