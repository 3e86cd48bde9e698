"""Schemathesis against a served process: every operation, every check, valid and invalid data.

The run erases users, promotes and rolls back models, and revokes all keys except its own.
"""

from __future__ import annotations

import json
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import schemathesis
from hypothesis import strategies as st
from schemathesis.config import SchemathesisConfig
from schemathesis.core.failures import AcceptedNegativeData, Failure
from schemathesis.engine import Status, events, from_schema
from schemathesis.openapi.checks import RejectedPositiveData

from tests.support.served import Served

NOT_ASKED = {
    "max_response_time": "it is a limit to be set, and benchmarks/serve_load.py measures times",
    "object_level_authorization": "keys have roles and no users of their own: nobody owns what another may not see",
}
"""Checks that do not apply: name -> reason."""


LINES = (
    st.lists(
        st.one_of(
            st.fixed_dictionaries(
                {"user": st.sampled_from(["7", "ana", 8, ""]), "item": st.integers(0, 70)},
                optional={
                    "value": st.one_of(st.integers(0, 6), st.floats(), st.none()),
                    "kind": st.sampled_from(["rating", "event", "removal", "like"]),
                    "key": st.text(max_size=3),
                    "time": st.integers(-1, 2 * 10**11),
                },
            ).map(json.dumps),
            st.text(max_size=50),
        ),
        min_size=1,
        max_size=20,
    )
    .map("\n".join)
    .filter(lambda text: text.strip(" \t\n\r\f\v"))
)
"""Bodies for the route that takes many events: lines with valid events, invalid events and any text."""


@schemathesis.serializer("application/x-ndjson")
def lines_as_sent(context: Any, value: Any) -> Any:
    return value.encode("utf-8", "surrogatepass") if isinstance(value, str) else json.dumps(value).encode()


ID_PARAMETERS = ("query.item", "query.user", "body.item", "body.answers[*].item", "body.history[*].item")
"""Parameters that get the id of a known item or user in half of the cases."""

OWN_KEYS: set[str] = set()
"""Keys of runs, which must not be revoked."""


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    if case.operation.path == "/v1/keys/{key}" and (case.path_parameters or {}).get("key") in OWN_KEYS:
        case.path_parameters["key"] = "0" * 16


@dataclass
class Seen:
    """Result of a run: statuses and violations by operation, and the number of checks and cases by phase."""

    statuses: dict[str, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    violations: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    checks: Counter[str] = field(default_factory=Counter)
    phases: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)

    @property
    def cases(self) -> int:
        return sum(sum(counts.values()) for counts in self.statuses.values())

    @property
    def broken(self) -> int:
        return sum(map(len, self.violations.values()))

    @property
    def crashes(self) -> int:
        return sum(count for counts in self.statuses.values() for status, count in counts.items() if status == 500)


def estimators_in(value: Any) -> Iterator[dict[str, Any]]:
    """Yield an estimator as JSON, and the estimators that are its parts."""
    if isinstance(value, dict):
        yield value
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for part in inner:
        yield from estimators_in(part)


def breaks_a_rule(estimator: dict[str, Any]) -> bool:
    ends, parts, weights = (estimator.get(name) for name in ("rating_range", "parts", "weights"))
    if isinstance(ends, list) and not ends[0] < ends[1]:
        return True
    n_parts = len(parts) if isinstance(parts, list) else 2  # by default
    return n_parts == 0 or (isinstance(weights, list) and (len(weights) != n_parts or not any(weights)))


def beyond_schema(body: Any, now: float) -> bool:
    """Return whether a body breaks a rule that its description states and JSON Schema cannot express.

    The rules: no item occurs twice in a history, no time is more than a day ahead of this clock, a range rises, a
    blend has parts, as many weights as parts and a weight above 0, a filter is an expression over existing metadata,
    and metadata have at most 65,536 bytes.
    """
    if not isinstance(body, dict):
        return False
    if isinstance(body.get("where"), str):
        return True
    if any(map(breaks_a_rule, estimators_in(body.get("estimator")))):
        return True
    event_time = body.get("time")
    if isinstance(event_time, int) and event_time > now + 86_000:
        return True
    for name in ("history", "answers"):
        items = [entry.get("item") for entry in body.get(name) or [] if isinstance(entry, dict)]
        items = [str(int(item) if isinstance(item, float) else item) for item in items]
        if len(set(items)) < len(items):
            return True
    return len(repr(body)) > 60_000


def run(url: str, key: str, examples: int, *, seed: int = 0, workers: int = 1, stop_at: float | None = None) -> Seen:
    """Run all phases (examples, coverage, fuzzing, stateful) and all checks against the service at this address."""
    seen = Seen()
    OWN_KEYS.add(key.partition(".")[0])
    config = SchemathesisConfig.from_dict(
        {
            "seed": seed,
            "headers": {"Authorization": f"Bearer {key}"},
            "continue-on-failure": True,
            "workers": workers,
            "generation": {"max-examples": examples, "no-shrink": True, "database": "none"},
            "checks": {name: {"enabled": False} for name in NOT_ASKED if name != "max_response_time"},
            "suppress-health-check": ["all"],
            "dictionaries": {"known": {"values": [str(number) for number in range(60)]}},
            "parameters": {name: {"dictionary": "known", "probability": 0.5} for name in ID_PARAMETERS},
        }
    )
    schema = schemathesis.openapi.from_url(
        f"{url}/openapi.json", config=config, headers={"Authorization": f"Bearer {key}"}
    )

    @schema.hook.apply_to(path="/v1/events/bulk")
    def before_generate_body(context: Any, strategy: Any) -> Any:
        return st.one_of(strategy, LINES)

    @schema.hook
    def filter_failure(context: Any, failure: Failure, case: Any, response: Any) -> bool:
        if isinstance(failure, AcceptedNegativeData):  # a body of lines is sent as text, whatever was drawn
            return not (case.operation.path == "/v1/events/bulk" and not isinstance(case.body, str))
        return not (isinstance(failure, RejectedPositiveData) and beyond_schema(case.body, time.time()))

    for event in from_schema(schema).execute():
        if isinstance(event, events.ScenarioFinished):
            tally(seen, event)
        elif isinstance(event, events.NonFatalError | events.FatalError):
            seen.violations[getattr(event, "label", "all")].append(str(getattr(event, "info", event)))
    with urlopen(Request(f"{url}/v1/keys", headers={"Authorization": f"Bearer {key}"})) as answer:
        assert answer.status == 200, "the key of the run does not work any more"
    return seen


def tally(seen: Seen, event: events.ScenarioFinished) -> None:
    """Add the cases and checks of one scenario."""
    recorder = event.recorder
    for name, interaction in recorder.interactions.items():
        node = recorder.cases.get(name)
        label = recorder.label if node is None else node.value.operation.label
        if interaction.response is not None:
            seen.statuses[label][interaction.response.status_code] += 1
            seen.phases[event.phase.value] += 1
        for check in recorder.checks.get(name, []):
            seen.checks[check.name] += 1
            if check.failure_info is not None:
                failure, sent = check.failure_info.failure, check.failure_info.code_sample
                seen.violations[label].append(f"{check.name}: {failure.title}: {failure.message}\n{sent}")
    if event.status in (Status.ERROR, Status.INTERRUPTED):
        seen.violations[recorder.label].append(f"{event.phase.value}: it ended as {event.status}")
    if event.status is Status.SKIP:
        seen.skipped[f"{event.phase.value}: {recorder.label}: {event.skip_reason}"] += 1


@contextmanager
def service(folder: Path, workers: int) -> Iterator[tuple[str, str]]:
    """Run a service with three models; yield its address and an admin key."""
    key = create_store(folder)
    running = Served(folder, key, *(("--workers", str(workers)) if workers > 1 else ()))
    try:
        yield running.url, key
    finally:
        running.stop()


def create_store(folder: Path) -> str:
    """Create a store of 4,000 ratings and three models, of which one is active; return an admin key."""
    import cofactor
    from cofactor.datasets.synthetic import SyntheticConfig, generate
    from cofactor.service import registry
    from cofactor.service.bootstrap import import_table
    from cofactor.service.registry import ArtifactRegistry
    from cofactor.service.settings import ServiceSettings
    from cofactor.service.training.spec import TrainingSpec
    from cofactor.service.training.trainer import Trainer
    from cofactor.store import Store

    ratings = generate(SyntheticConfig(n_users=200, n_items=60, n_ratings=4_000)).interactions
    settings = ServiceSettings.of({"data": str(folder)})
    artifacts = ArtifactRegistry(settings.artifacts)
    with Store.open(settings.url) as store:
        import_table(store, ratings)
        Trainer(store, artifacts, spec=TrainingSpec(cofactor.ExplicitALS(factors=4))).train()
        for factors in (6, 8):
            rec = cofactor.Recommender.fit(cofactor.ExplicitALS(factors=factors), ratings, seed=1).ensure_priors()
            registry.add_candidate(store, artifacts, rec, watermark=store.events.watermark())
        return store.keys.create("admin", "the run")
