"""From the producer's span over the queue to every attempt and into the service, a call is one trace."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from gateway import Call, RestCall
from gateway.dev.process import free_port
from gateway.errors import ServiceError
from tests.integration.pool_rig import eventually
from tests.observation.spans import SpanReceiver, attributes
from tests.observation.watched import Watched
from tests.servers.conduct import Conduct
from workers.observation.tracing import is_wanted

CATALOGUE = """
[services.billing]
rest.url = "${COUNTING_URL}"
retry = { attempts = 3, backoff = 0.01 }
breaker = { enabled = false }
timeouts = { attempt = 2.0 }

[services.hedged]
rest.url = "${COUNTING_URL}"
hedge = { after = 0.1 }
breaker = { enabled = false }
timeouts = { attempt = 2.0 }

[services.open]
rest.url = "${COUNTING_URL}"
retry = { attempts = 1 }
breaker = { fail_max = 1, reset_timeout = 1.0 }
"""


@pytest.fixture(scope="module")
def receiver() -> Iterator[SpanReceiver]:
    with SpanReceiver() as made:
        yield made


@pytest.fixture(scope="module")
def watched(receiver: SpanReceiver, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url, "OTEL_BSP_SCHEDULE_DELAY": "100"}
    with Watched(tmp_path_factory.mktemp("watched"), CATALOGUE, **environ) as made:
        yield made


@pytest.fixture
def producer() -> Iterator[InMemorySpanExporter]:
    """The producer's own tracing, in this process."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    before = trace._TRACER_PROVIDER
    trace._TRACER_PROVIDER = provider
    yield exporter
    trace._TRACER_PROVIDER = before
    provider.shutdown()


def traced(watched: Watched, call: Call, correlation_id: str | None = None) -> str:
    """Submit within a span, and wait; the trace's id."""
    with trace.get_tracer("shop").start_as_current_span("order") as span:
        pending = watched.gateway.submit(call, correlation_id=correlation_id, deadline=20.0)
        with suppress(ServiceError):
            pending.result(timeout=30)
        return f"{span.get_span_context().trace_id:032x}"


def test_two_attempts_and_the_service_are_one_trace(
    watched: Watched, receiver: SpanReceiver, producer: InMemorySpanExporter
) -> None:
    watched.service.behave("/busy", Conduct(status=503, first=1))
    call = RestCall("billing", "GET", "/busy/{n}", path={"n": "secret-7"}, query={"q": "secret-8"})
    trace_id = traced(watched, call, correlation_id="order-7")
    eventually(lambda: len(receiver.of(trace_id)) == 3, "the worker's spans have come")
    process, first, second = receiver.of(trace_id)
    made = {span.name: span for span in producer.get_finished_spans()}
    create, order = made["create gateway.billing"], made["order"]
    assert create.parent is not None
    assert create.parent.span_id == order.context.span_id
    assert process.parent_span_id.hex() == f"{create.context.span_id:016x}"
    assert first.parent_span_id == second.parent_span_id == process.span_id
    assert [link.span_id for link in second.links] == [first.span_id]
    assert process.name == "process gateway.billing"
    assert first.name == second.name == "GET /busy/{n}"
    assert (
        attributes(process).items() >= {"messaging.message.conversation_id": "order-7", "gateway.attempts": 2}.items()
    )
    assert (
        attributes(first).items() >= {"error.type": "ServiceUnavailableError", "http.response.status_code": 503}.items()
    )
    assert attributes(second).items() >= {"url.template": "/busy/{n}", "http.response.status_code": 200}.items()
    assert (first.status.code, second.status.code, process.status.code) == (2, 0, 0), "2: an error, 0: nothing is said"
    seen = [(arrival.traceparent or "").split("-")[:3] for arrival in watched.service.arrivals("/busy")]
    assert seen == [["00", trace_id, span.span_id.hex()] for span in (first, second)]
    assert "secret" not in repr(receiver.spans) + repr([span.to_json() for span in producer.get_finished_spans()])
    assert receiver.resources[0]["service.name"] == "call-gateway"


def test_a_hedge_is_linked_to_what_it_runs_beside(
    watched: Watched, receiver: SpanReceiver, producer: InMemorySpanExporter
) -> None:
    watched.service.behave("/slow", Conduct(delay_s=1.0, first=1))
    trace_id = traced(watched, RestCall("hedged", "GET", "/slow"))
    eventually(lambda: len(receiver.of(trace_id)) == 3, "its spans have come")
    _, first, hedge = receiver.of(trace_id)
    (link,) = hedge.links
    assert link.span_id == first.span_id
    assert attributes(link) == {"gateway.link": "hedge of"}
    assert attributes(first)["gateway.cancelled"] is True


def test_a_call_that_was_parked_goes_on_in_its_trace(
    watched: Watched, receiver: SpanReceiver, producer: InMemorySpanExporter
) -> None:
    watched.service.behave("/down", Conduct(status=500, first=1))
    failed = traced(watched, RestCall("open", "POST", "/down", json={}))
    parked = traced(watched, RestCall("open", "GET", "/well"))
    eventually(lambda: len(receiver.of(failed)) == 2 and len(receiver.of(parked)) == 3, "their spans have come")
    process, _ = receiver.of(failed)
    assert attributes(process)["error.type"] == "ServiceFaultError"
    before, after, attempt = receiver.of(parked)
    assert [event.name for event in before.events] == ["parked"]
    assert before.parent_span_id == after.parent_span_id
    assert attributes(after)["gateway.parks"] == 1
    assert attempt.parent_span_id == after.span_id


def test_a_trace_that_is_not_sampled_costs_no_span_and_goes_on(
    watched: Watched, receiver: SpanReceiver, producer: InMemorySpanExporter
) -> None:
    parent = f"00-{'a' * 32}-{'b' * 16}-00"
    pending = watched.gateway.submit(RestCall("billing", "GET", "/unsampled"), traceparent=parent, deadline=20.0)
    assert pending.result(timeout=20).status == 200
    (arrival,) = watched.service.arrivals("/unsampled")
    assert arrival.traceparent is not None
    assert arrival.traceparent.startswith(f"00-{'a' * 32}-")
    assert arrival.traceparent.endswith("-00")
    assert receiver.of("a" * 32) == []
    assert producer.get_finished_spans() == ()


def test_without_a_span_nothing_is_traced_by_the_producer(watched: Watched, producer: InMemorySpanExporter) -> None:
    assert watched.gateway.submit(RestCall("billing", "GET", "/none"), deadline=20.0).result(timeout=20).status == 200
    assert producer.get_finished_spans() == ()


def in_a_process(code: str, **environ: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, **environ}
    return subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False, timeout=60
    )


def test_without_the_package_nothing_is_traced_and_all_goes_on() -> None:
    done = in_a_process(
        "import sys, logging; logging.basicConfig(); sys.modules['opentelemetry'] = None;"
        "from gateway import Gateway, RestCall; from gateway.producer_span import begin;"
        "assert begin(RestCall('a', 'GET', '/'), None) == (None, None);"
        "import os; from workers.observation.tracing import is_wanted; assert not is_wanted(os.environ)",
        OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:4318",
    )
    assert done.returncode == 0, done.stderr
    assert "pip install 'call-gateway[traces]'" in done.stderr


@pytest.mark.parametrize(
    ("environ", "wanted"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4318/v1/traces"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_SDK_DISABLED": "true"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_TRACES_EXPORTER": "none"}, False),
    ],
)
def test_the_usual_variables_switch_it_on(environ: dict[str, str], wanted: bool) -> None:
    assert is_wanted(environ) is wanted


def test_the_producer_loads_no_sdk() -> None:
    done = in_a_process("import sys; import gateway; sys.exit('opentelemetry.sdk' in sys.modules)")
    assert done.returncode == 0


def test_a_receiver_that_is_away_holds_up_nothing(tmp_path_factory: pytest.TempPathFactory) -> None:
    endpoint = f"http://127.0.0.1:{free_port()}"
    with Watched(tmp_path_factory.mktemp("away"), CATALOGUE, OTEL_EXPORTER_OTLP_ENDPOINT=endpoint) as made:
        pending = made.gateway.submit_many([RestCall("billing", "GET", "/well")] * 200, deadline=20.0)
        assert {each.result(timeout=20).status for each in pending} == {200}
        made.worker.warm_stop()
        assert made.worker.wait(20) == 0
