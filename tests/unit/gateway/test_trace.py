"""A trace is passed on if it is one, and never costs a call."""

import pytest

from gateway.trace import trace_headers

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_both_go_on() -> None:
    state = "a=" + "x" * 500
    assert trace_headers(PARENT, state) == {"traceparent": PARENT, "tracestate": state}
    assert trace_headers(PARENT, None) == {"traceparent": PARENT}


@pytest.mark.parametrize(
    "traceparent",
    [
        None,
        "",
        "nonsense",
        PARENT.upper(),
        PARENT + "\r\nx: y",
        "ff" + PARENT[2:],
        f"00-{'0' * 32}-b7ad6b7169203331-01",
        f"00-0af7651916cd43dd8448eb211c80319c-{'0' * 16}-01",
        PARENT + "-" + "x" * 500,
    ],
)
def test_what_is_no_trace_is_left_out(traceparent: str | None) -> None:
    assert trace_headers(traceparent, "a=b") == {}


@pytest.mark.parametrize("tracestate", ["", "a=b\r\nx: y", "ä=b", " a=b", "x" * 2000])
def test_a_bad_state_costs_only_itself(tracestate: str) -> None:
    assert trace_headers(PARENT, tracestate) == {"traceparent": PARENT}
