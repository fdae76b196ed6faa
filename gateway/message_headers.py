"""Headers of a message that the gateway adds for itself; nothing of the call."""

__all__ = ["MAYBE", "PARKS", "RECORDED"]

#: How often the call was parked when its message came back; tells a stale duplicate from the call.
PARKS = "gateway_parks"
#: 1 if the service may have acted on an attempt before.
MAYBE = "gateway_maybe"
#: 1 if the call was recorded before it was enqueued.
RECORDED = "gateway_recorded"
