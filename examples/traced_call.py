"""One trace from an application's own span over the queue to the service that answers.

With `make dev` in another terminal, the variables that it prints, a collector that takes OTLP over HTTP, and
`OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318` in both: `python examples/traced_call.py`.
"""

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from gateway import Gateway, RestCall

# An application that traces has this already; the gateway needs no more than a current span.
provider = TracerProvider(resource=Resource({SERVICE_NAME: "shop"}))
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
trace.set_tracer_provider(provider)

with Gateway.from_env() as gateway, trace.get_tracer("shop").start_as_current_span("order") as span:
    call = RestCall("user-service", "GET", "/users/{user_id}", path={"user_id": "123"})
    reply = gateway.submit(call, correlation_id="order-42", deadline=10.0).result()
    print(reply.data["name"], "in trace", f"{span.get_span_context().trace_id:032x}")
provider.shutdown()
