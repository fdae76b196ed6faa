"""A GraphQL operation as a call."""

from collections.abc import Mapping
from typing import Any

import msgspec

from gateway import graphql_document, headers
from gateway.base_call import BaseCall, check_mapping, check_service, check_timeout, keep_copy
from gateway.plain_json import check_plain_json

__all__ = ["GraphQLCall"]


class _GraphQLTarget(BaseCall, frozen=True):
    query: str
    variables: Mapping[str, Any] = msgspec.field(default_factory=dict)


class GraphQLCall(_GraphQLTarget, frozen=True, kw_only=True, tag="graphql"):
    """A GraphQL query or mutation, sent as POST (GraphQL over HTTP).

    Args:
        service: the service's name in the catalogue.
        query: the document.
        variables: its variables; plain JSON.
        operation_name: which operation of the document to run; needed when it has several.
        headers: request headers. Those that the gateway sets are refused, see `gateway.headers`.
        attempt_timeout: seconds for one attempt, instead of the service's policy.

    Raises:
        InvalidCallError: names the field and the cure.
    """

    operation_name: str | None = None
    headers: Mapping[str, str] = msgspec.field(default_factory=dict)
    attempt_timeout: float | None = None

    def __post_init__(self) -> None:
        check_service(self.service)
        check_mapping("variables", self.variables)
        msgspec.structs.force_setattr(self, "variables", check_plain_json(self.variables, field="variables"))
        headers.check(self.headers, field="headers")
        check_timeout(self.attempt_timeout)
        keep_copy(self, "headers")
        self._selected()

    def _selected(self) -> graphql_document.Operation:
        return graphql_document.select(self.query, self.operation_name)

    @property
    def operation(self) -> str:
        """Name of what is asked, such as `"query GetUser"`."""
        selected = self._selected()
        return f"{selected.kind} {selected.name}" if selected.name else selected.kind

    @property
    def idempotent(self) -> bool:
        """A query is, a mutation is not."""
        return self._selected().kind == "query"
