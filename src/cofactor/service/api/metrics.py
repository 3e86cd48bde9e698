"""What Prometheus may know of this service. With several workers every number is of all of them."""

from __future__ import annotations

import os

from prometheus_client import REGISTRY as OWN
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from cofactor.service.answers import Answer

__all__ = ["count_answer", "count_request", "tell_model", "written"]

BOUNDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 30)
METHODS = {"GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"}

_requests = Counter("cofactor_requests", "Requests by route and status", ["method", "route", "status"])
_seconds = Histogram("cofactor_request_seconds", "Time to the end of an answer", ["route"], buckets=BOUNDS)
_answers = Counter("cofactor_answers", "What answered: model, fold-in, prior, popularity", ["by"])
_stale = Counter("cofactor_stale_answers", "Answers given while the store did not answer")
_model = Gauge("cofactor_model_version", "The model that answers", multiprocess_mode="livemin")
_swaps = Gauge("cofactor_model_swaps", "How often another model was put in place", multiprocess_mode="livesum")
_failures = Gauge("cofactor_model_failures", "How often a model could not be opened", multiprocess_mode="livesum")
_lost = Gauge("cofactor_impressions_lost", "Impressions the store did not take in time", multiprocess_mode="livesum")


def count_request(method: str, route: str, status: int, seconds: float) -> None:
    """One more request; methods nobody knows are told as one."""
    _requests.labels(method if method in METHODS else "other", route, str(status)).inc()
    _seconds.labels(route).observe(seconds)


def count_answer(answer: Answer) -> None:
    """One more answer."""
    _answers.labels(answer.by).inc()
    if answer.stale:
        _stale.inc()


def tell_model(version: int, swaps: int, failures: int, lost: int) -> None:
    """Which model answers here, how often that changed or could not, and how many impressions were lost."""
    _model.set(version)
    _swaps.set(swaps)
    _failures.set(failures)
    _lost.set(lost)


def written() -> bytes:
    """All numbers, in Prometheus' text format."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return generate_latest(OWN)
    every = CollectorRegistry()
    MultiProcessCollector(every)  # type: ignore[no-untyped-call]
    return generate_latest(every)
