"""Prometheus metrics, aggregated over all workers."""

from __future__ import annotations

import os

from prometheus_client import REGISTRY as PROCESS_REGISTRY
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from cofactor.results import Answer

__all__ = ["count_answer", "count_request", "metrics_text", "set_model_metrics"]

BOUNDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 30)
METHODS = {"GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"}

_requests = Counter(
    "cofactor_requests", "Number of requests by method, route and status", ["method", "route", "status"]
)
_seconds = Histogram(
    "cofactor_request_seconds", "Time until the response is complete, in seconds", ["route"], buckets=BOUNDS
)
_answers = Counter("cofactor_answers", "Number of answers by source: model, fold-in, prior, popularity", ["by"])
_stale = Counter("cofactor_stale_answers", "Number of answers given while the store was unavailable")
_model = Gauge("cofactor_model_version", "Version of the current model", multiprocess_mode="livemin")
_swaps = Gauge("cofactor_model_swaps", "Number of times the model was replaced", multiprocess_mode="livesum")
_failures = Gauge("cofactor_model_failures", "Number of models that could not be opened", multiprocess_mode="livesum")
_lost = Gauge("cofactor_impressions_lost", "Number of impressions that were not stored", multiprocess_mode="livesum")


def count_request(method: str, route: str, status: int, seconds: float) -> None:
    """Record a request and its duration; unknown methods are counted as "other"."""
    _requests.labels(method if method in METHODS else "other", route, str(status)).inc()
    _seconds.labels(route).observe(seconds)


def count_answer(answer: Answer) -> None:
    """Count an answer under the source it is based on, such as the model or popularity."""
    _answers.labels(answer.answered_by).inc()
    if answer.stale:
        _stale.inc()


def set_model_metrics(version: int, n_swaps: int, n_failures: int, n_lost: int) -> None:
    """Set the gauges: model version, model replacements, failures to open a model, and lost impressions."""
    _model.set(version)
    _swaps.set(n_swaps)
    _failures.set(n_failures)
    _lost.set(n_lost)


def metrics_text() -> bytes:
    """Return all metrics in the Prometheus text format."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return generate_latest(PROCESS_REGISTRY)
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry)
