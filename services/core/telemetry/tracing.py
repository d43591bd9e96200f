"""W3C trace context from HTTP through bus and gRPC to Triton. Spans leave by OTLP only where a setting says so."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

_propagator = TraceContextTextMapPropagator()


def setup_tracing(service: str, otlp_endpoint: str | None) -> None:
    """Names this process in traces. With an endpoint spans are exported there by OTLP over HTTP (extra `otlp`)."""
    provider = TracerProvider(resource=Resource.create({"service.name": f"glioserve.{service}"}))
    if otlp_endpoint:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=otlp_endpoint)))
    trace.set_tracer_provider(provider)


def trace_headers() -> dict[str, str]:
    """`traceparent` (and `tracestate`) of the current span, to be sent on; empty outside of one."""
    headers: dict[str, str] = {}
    _propagator.inject(headers)
    return headers


@contextmanager
def continued(name: str, headers: Mapping[str, str]) -> Iterator[None]:
    """Runs a block in a span whose parent is named by the headers; without them the span starts a trace.

    An error that ends the block marks the span with its type. Its text stays out: a library may quote a header in it.
    """
    tracer = trace.get_tracer("glioserve")
    parent = _propagator.extract(dict(headers))
    with tracer.start_as_current_span(name, parent, record_exception=False, set_status_on_exception=False) as span:
        try:
            yield
        except BaseException as error:
            span.set_status(StatusCode.ERROR, getattr(error, "code", None) or type(error).__qualname__)
            raise
