"""Whether a call may be executed twice."""

from gateway.call import Call, GrpcCall

__all__ = ["asks_method", "is_idempotent"]


def is_idempotent(call: Call, *, key: str | None, declared: bool | None, method_says: bool | None) -> bool:
    """Whether executing the call twice does no more than executing it once.

    The first that knows wins: an idempotency key, by which the service recognises a repetition; the catalogue; the
    protocol. That is the method for REST (RFC 9110, section 9.2.2), and for GraphQL whether it is a query.

    Args:
        call: what is asked.
        key: the call's idempotency key.
        declared: what the catalogue says about the operation; None: nothing.
        method_says: what the descriptor of a gRPC method says (`idempotency_level`); None: nothing, or it is unknown,
            which counts as no.
    """
    if key is not None:
        return True
    if declared is not None:
        return declared
    if isinstance(call, GrpcCall):
        return method_says is True
    return call.idempotent


def asks_method(call: Call, *, key: str | None, declared: bool | None) -> bool:
    """Whether `is_idempotent` looks at `method_says`, which may take a question to the service's reflection."""
    return key is None and declared is None and isinstance(call, GrpcCall)
