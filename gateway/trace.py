"""W3C Trace Context: what is passed on, and what is dropped.

A trace must never cost a call: a header that is not well-formed is left out, as the recommendation asks (section
3.2.2).
"""

import re

__all__ = ["trace_headers"]

#: Version 00; a later one may have more after another dash.
_TRACEPARENT = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-[\x21-\x7e]*)?"
)
#: At least 512 characters are to be passed on (section 3.3.1.1).
_TRACESTATE = re.compile(r"[\x21-\x7e](?:[\t\x20-\x7e]{0,1022}[\x21-\x7e])?")
_MAX_TRACEPARENT = 256


def trace_headers(traceparent: str | None, tracestate: str | None) -> dict[str, str]:
    """The headers that go on: both, the first alone, or none."""
    if traceparent is None or len(traceparent) > _MAX_TRACEPARENT or not _TRACEPARENT.fullmatch(traceparent):
        return {}
    headers = {"traceparent": traceparent}
    if tracestate is not None and _TRACESTATE.fullmatch(tracestate):
        headers["tracestate"] = tracestate
    return headers
