"""One contract for every transport: what each fault of a service must be called, and what it may cost.

The table is the contract. A row holds for every protocol; where one cannot keep it, the row says how it differs and
what in the protocol is the reason.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from time import monotonic

import pytest

from gateway.errors import Delivery, InvalidReplyError, ServiceError, ServiceTimeoutError, ServiceUnavailableError
from gateway.policy import Connections, Policy, ReplyBounds, Timeouts
from tests.conformance.contract import Expected, attempt_of, send_within
from tests.conformance.peak import Peak
from tests.conformance.protocols import OVER_GRPC, OVER_HTTP, Protocol
from workers.transports.base import Answer, Transport

_MIB = 1024 * 1024
#: The bound of a reply, and what an attempt may take on top of four times that.
REPLY_BYTES = 4 * _MIB
OVERHEAD_BYTES = 8 * _MIB

#: No bound of time in the table is as long; without one an attempt would take five seconds.
AT_ONCE_S = 4.0

NOT_SENT, MAYBE_SENT, ANSWERED = (Delivery.NOT_SENT,), (Delivery.MAYBE_SENT,), (Delivery.ANSWERED,)


@dataclass(frozen=True, kw_only=True)
class Differs:
    """How a protocol ends otherwise than the row says, and the protocol's reason for it; what is left out is the row's.

    Attributes:
        grpc_status: where it is not the row's.
        answer: what the call is answered with instead of failing.
    """

    because: str
    error: type[ServiceError] | None = None
    delivery: tuple[Delivery, ...] | None = None
    phase: str | None = None
    grpc_status: str | None = None
    answer: object = None


@dataclass(frozen=True, kw_only=True)
class Row:
    """A fault and what it must end in.

    Attributes:
        fault: what the server does.
        error, delivery, phase: see `Expected`.
        timeouts: of the attempt.
        arrives: how many requests the server sees: never one more than were made.
        grpc_status: what gRPC answered; HTTP said 200 wherever it answered.
        differs: by protocol (`grpc-unary`) or family (`grpc`).
    """

    fault: str
    error: type[ServiceError]
    delivery: tuple[Delivery, ...]
    phase: str | None = None
    timeouts: Mapping[str, float] = field(default_factory=dict)
    arrives: int = 1
    grpc_status: str | None = None
    differs: Mapping[str, Differs] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.fault.replace(" ", "-")

    def difference(self, protocol: Protocol) -> Differs | None:
        return self.differs.get(protocol.name) or self.differs.get(protocol.family)

    def expected(self, protocol: Protocol) -> Expected:
        """The row's failure for a protocol."""
        differs = self.difference(protocol)
        delivery = differs.delivery if differs and differs.delivery else self.delivery
        grpc_status = differs.grpc_status if differs and differs.grpc_status else self.grpc_status
        status = grpc_status if protocol.family == "grpc" else 200
        return Expected(
            fault=self.fault,
            error=differs.error if differs and differs.error else self.error,
            delivery=delivery,
            phase=differs.phase if differs and differs.phase else self.phase,
            status=status if delivery == ANSWERED else None,
        )


CONTRACT = [
    Row(fault="refuse", error=ServiceUnavailableError, delivery=NOT_SENT, arrives=0),
    Row(
        fault="hang before accepting",
        error=ServiceTimeoutError,
        delivery=NOT_SENT,
        phase="connect",
        arrives=0,
    ),
    Row(
        fault="hang before reading",
        error=ServiceTimeoutError,
        delivery=MAYBE_SENT,
        phase="read",
        timeouts={"read": 0.2},
        arrives=0,
        differs={
            "grpc": Differs(
                because="nothing is asked before the server's SETTINGS have come (RFC 9113, section 3.4)",
                delivery=NOT_SENT,
                phase="connect",
            )
        },
    ),
    Row(
        fault="hang after reading",
        error=ServiceTimeoutError,
        delivery=MAYBE_SENT,
        phase="read",
        timeouts={"read": 0.2},
    ),
    Row(
        fault="drip",
        error=ServiceTimeoutError,
        delivery=MAYBE_SENT,
        phase="attempt",
        timeouts={"attempt": 0.5, "read": 0.3},
        differs={
            "grpc-unary": Differs(
                because="grpcio shows a unary reply when all of it is there, so until then there was silence",
                phase="read",
            )
        },
    ),
    Row(
        fault="reset on accepting",
        error=ServiceUnavailableError,
        # Whether the reset comes before the request is written is for the network to decide; both are true.
        delivery=NOT_SENT + MAYBE_SENT,
        arrives=0,
        differs={
            "grpc": Differs(
                because="nothing is asked before the server's SETTINGS have come (RFC 9113, section 3.4)",
                delivery=NOT_SENT,
            )
        },
    ),
    Row(fault="reset before the request was read", error=ServiceUnavailableError, delivery=MAYBE_SENT),
    Row(fault="reset after the request was read", error=ServiceUnavailableError, delivery=MAYBE_SENT),
    Row(
        fault="truncate the connection",
        error=InvalidReplyError,
        delivery=ANSWERED,
        differs={
            "grpc": Differs(
                because="the status comes last, so what is cut off says neither yes nor no",
                error=ServiceUnavailableError,
                delivery=MAYBE_SENT,
            )
        },
    ),
    Row(
        fault="truncate the message",
        error=InvalidReplyError,
        delivery=ANSWERED,
        grpc_status="OK",
        differs={
            "grpc-stream": Differs(
                because="grpcio hides a message that is cut off from who reads a stream: the list is what came before",
                answer=[],
            )
        },
    ),
    Row(
        fault="garbage",
        error=InvalidReplyError,
        delivery=MAYBE_SENT,
    ),
    Row(
        fault="huge body",
        error=InvalidReplyError,
        delivery=ANSWERED,
        grpc_status="RESOURCE_EXHAUSTED",
        differs={
            "grpc-stream": Differs(
                because="no message is too large for the library; it is the gateway that counts them together",
                grpc_status="OK",
            )
        },
    ),
    Row(
        fault="wrong content type",
        error=InvalidReplyError,
        delivery=ANSWERED,
        grpc_status="UNKNOWN",
        differs={
            "rest": Differs(
                because="no content type is wrong: the reply says what it is, and a page is text",
                answer="<html>Please log in</html>",
            )
        },
    ),
    Row(fault="not what the content type says", error=InvalidReplyError, delivery=ANSWERED, grpc_status="OK"),
    Row(fault="compressed bomb", error=InvalidReplyError, delivery=ANSWERED, grpc_status="RESOURCE_EXHAUSTED"),
]


@pytest.mark.parametrize("protocol", [*OVER_HTTP, *OVER_GRPC], ids=str)
@pytest.mark.parametrize("row", CONTRACT, ids=str)
async def test_every_protocol_keeps_the_contract(protocol: Protocol, row: Row) -> None:
    policy = Policy(
        timeouts=Timeouts(connect=0.4), connections=Connections(max=1), reply=ReplyBounds(max_bytes=REPLY_BYTES)
    )
    async with protocol.misbehaving(row.fault) as server:
        transport = protocol.to(server.port, policy)
        try:
            attempt = attempt_of(protocol.call, row.timeouts, max_reply_bytes=REPLY_BYTES)
            began = monotonic()
            with Peak() as peak:
                outcome = await send_within(transport, attempt)
            assert monotonic() - began < AT_ONCE_S

            differs = row.difference(protocol)
            if differs and differs.answer is not None:
                assert isinstance(outcome, Answer), outcome
                assert outcome.data == differs.answer
            else:
                row.expected(protocol).check(outcome)
                assert not isinstance(outcome, Answer)
                assert (outcome.delivery is Delivery.NOT_SENT) == (attempt.wire.sent is None)
            assert server.heads == row.arrives, "one attempt is one request: repeating it is for another layer"
            assert peak.bytes < 4 * REPLY_BYTES + OVERHEAD_BYTES
            nobody_is_left(transport)

            await server.recover()
            await the_next_call_works(protocol, transport, at_once=protocol.reconnects or row.arrives > 0)
            assert server.heads == row.arrives + 1
            nobody_is_left(transport)
        finally:
            await transport.close()


def nobody_is_left(transport: Transport) -> None:
    """No call holds a place, and none waits for one."""
    said = repr(transport)
    assert " 0 busy" in said, said
    assert " waiting" not in said.replace(" 0 waiting", ""), said


async def the_next_call_works(protocol: Protocol, transport: Transport, *, at_once: bool) -> None:
    """The same transport gets an answer, at once or when its library tries to connect again."""
    until = monotonic() + (0.0 if at_once else 10.0)
    while True:
        outcome = await send_within(transport, attempt_of(protocol.call, request_id="r2"))
        if isinstance(outcome, Answer):
            assert outcome.data == protocol.data
            return
        assert monotonic() < until, outcome
        # grpcio's text does not always tell how connecting failed: then it is maybe_sent, to be safe.
        is_vague = outcome.message.startswith("UNAVAILABLE: failed to connect to all addresses")
        assert outcome.delivery is Delivery.NOT_SENT or is_vague, outcome
