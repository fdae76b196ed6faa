"""A service, as the catalogue describes it."""

from collections.abc import Mapping
from typing import Any, ClassVar

import msgspec

from gateway.auth_scheme import AuthScheme
from gateway.call import Call, Protocol, protocol_of
from gateway.network import Network
from gateway.policy import Policy, merge
from gateway.tls import Tls

__all__ = ["AuthScheme", "GraphQLEndpoint", "GrpcEndpoint", "Interceptors", "Operation", "RestEndpoint", "Service"]


#: More is a loop, or a service that should be asked where it is.
MAX_REDIRECTS = 10


class _Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class RestEndpoint(_Table, frozen=True):
    """Attributes:
    url: base URL; routes of calls go below it.
    redirects: how many of a GET or HEAD are followed, to the same origin alone; 0: none.
    """

    url: str
    redirects: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.redirects <= MAX_REDIRECTS:
            raise ValueError(f"rest.redirects is {self.redirects}; write a number from 0 to {MAX_REDIRECTS}")


class GraphQLEndpoint(_Table, frozen=True):
    """Attributes:
    url: URL of the endpoint.
    """

    url: str


class GrpcEndpoint(_Table, frozen=True):
    """Where the service is and where its descriptors come from: one of `protos`, `descriptor_set`, `reflection`.

    Attributes:
        target: `host:port`, or another gRPC name, see `gateway.grpc_target`.
        tls: whether to speak TLS.
        protos: `.proto` files, relative to one of `include`.
        include: folders that `protos` are looked up in, relative to the catalogue file.
        descriptor_set: a compiled `FileDescriptorSet` (`protoc --descriptor_set_out --include_imports`).
        reflection: ask the service itself (gRPC server reflection).
    """

    target: str
    tls: bool = False
    protos: list[str] = []
    include: list[str] = msgspec.field(default_factory=lambda: ["protos", "."])
    descriptor_set: str | None = None
    reflection: bool = False


class Interceptors(_Table, frozen=True):
    """A service owner's own functions, as `package.module:function`; see `docs/interceptors.md`.

    Attributes:
        before: called with each attempt before it is sent.
        after: called with each attempt and what came of it.
    """

    before: list[str] = []
    after: list[str] = []


class Operation(_Table, frozen=True):
    """Policy of one operation, over that of its service. Breaker, limit and retry budget are the service's alone.

    Attributes:
        idempotent: whether it may be repeated; None: as the protocol says.
    """

    TABLES: ClassVar[tuple[str, ...]] = ("timeouts", "retry", "hedge", "reply")

    timeouts: dict[str, Any] = {}
    retry: dict[str, Any] = {}
    hedge: dict[str, Any] = {}
    reply: dict[str, Any] = {}
    idempotent: bool | None = None

    def tables(self) -> Mapping[str, Mapping[str, Any]]:
        """The policy tables that are set."""
        return {name: getattr(self, name) for name in self.TABLES}


class Service(_Table, frozen=True):
    """A service: where it is, how it is asked and how patient the gateway is with it.

    Attributes:
        name: its name in the catalogue.
        rest, graphql, grpc: its endpoints, None where it does not speak the protocol.
        auth: how the gateway shows who it is.
        tls: whom it trusts and what the gateway shows, on its endpoints that speak TLS.
        network: which addresses beside public ones its names may stand for.
        interceptors: the owner's own functions.
        operations: what is special about single operations, by name.
        only_listed_operations: refuse every operation that is not in `operations`.
        policy: of the service, with the defaults in it.
        operation_policies: of its operations, by name, with the service's in them.
        tables: its policy as it is written in its own table, without the defaults.
    """

    name: str
    policy: Policy
    rest: RestEndpoint | None = None
    graphql: GraphQLEndpoint | None = None
    grpc: GrpcEndpoint | None = None
    auth: AuthScheme | None = None
    tls: Tls | None = None
    network: Network = Network()
    interceptors: Interceptors = Interceptors()
    operations: dict[str, Operation] = {}
    only_listed_operations: bool = False
    operation_policies: dict[str, Policy] = {}
    tables: dict[str, dict[str, Any]] = {}

    @property
    def protocols(self) -> tuple[Protocol, ...]:
        """The protocols that it speaks."""
        names: tuple[Protocol, ...] = ("rest", "grpc", "graphql")
        return tuple(name for name in names if getattr(self, name) is not None)

    def policy_for(self, call: Call) -> Policy:
        """The policy of one call: defaults ← service ← operation ← call."""
        policy = self.operation_policies.get(call.operation, self.policy)
        if call.attempt_timeout is None:
            return policy
        timeouts = policy.timeouts
        attempt = min(call.attempt_timeout, timeouts.total)
        return msgspec.structs.replace(policy, timeouts=msgspec.structs.replace(timeouts, attempt=attempt))

    def idempotent(self, call: Call) -> bool | None:
        """What the catalogue says about repeating the call's operation; None: nothing."""
        operation = self.operations.get(call.operation)
        return None if operation is None else operation.idempotent

    def speaks(self, call: Call) -> bool:
        """Whether the service has an endpoint for the call's protocol."""
        return protocol_of(call) in self.protocols


def build_service(
    name: str, table: Mapping[str, Any], defaults: Mapping[str, Mapping[str, Any]], sections: tuple[str, ...]
) -> Service:
    """A service from its table of the catalogue file.

    Raises:
        msgspec.ValidationError: the table is not one.
    """
    own = {section: table[section] for section in sections if section in table}
    rest = {key: value for key, value in table.items() if key not in sections}
    service = msgspec.convert({**rest, "name": name, "policy": {}}, Service)
    return msgspec.structs.replace(
        service,
        policy=merge(defaults, own),
        tables=own,
        operation_policies={
            operation: merge(defaults, own, special.tables()) for operation, special in service.operations.items()
        },
    )
