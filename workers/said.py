"""What the gateway says of an error, without what others said or sent: for logs, histories and dead letters."""

from gateway.errors import Delivery, GraphQLError, InvalidCallError, ServiceError

__all__ = ["said_of", "said_of_error"]

_MOST = 300


def said_of(error: type[ServiceError], message: str, delivery: Delivery, status: int | str | None, cure: object) -> str:
    """One line of at most 300 characters.

    What is wrong with a call is told by its value; a gRPC service's own text follows the name of its status, and what a
    GraphQL service says is all its own.
    """
    if issubclass(error, InvalidCallError):
        field = message.partition(":")[0] if isinstance(cure, str) else "message"
        message = f"{field}: it is not valid" + (f"; {cure}" if isinstance(cure, str) else "")
    elif issubclass(error, GraphQLError):
        message = "the answer has errors"
    elif delivery is Delivery.ANSWERED and isinstance(status, str) and message.startswith(f"{status}:"):
        message = status
    return "".join(character if character.isprintable() else "?" for character in message[:_MOST])


def said_of_error(error: ServiceError) -> str:
    """The same, of an error that somebody gets."""
    return said_of(type(error), error.message, error.delivery, error.status, error.fields.get("cure"))
