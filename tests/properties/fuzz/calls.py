"""Call public callables with bad arguments and print the outcome of each call as a JSON line.

From the root of the repository, with PYTHONPATH=src:.

    python calls.py list                   names and exceptions
    python calls.py unused                 entries of the tables that no callable has
    python calls.py valid                  each callable with valid arguments only
    python calls.py fuzz SEED FIRST LAST   the calls FIRST..LAST-1 of a seed

The bad arguments of a call depend on the seed, the name of the callable and the number of its earlier calls, so that a
new callable does not change the calls of the others.

Before each call its description is printed, so that a crash or a hang of this process is attributed to a call.
"""

from __future__ import annotations

import heapq
import itertools
import json
import os
import random
import re
import resource
import sys
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
from bad_values import bad_values
from public_names import EXCEPTIONS, RECORDS, PublicCallable, public_callables, reason_not_fuzzed
from samples import Samples

from cofactor.errors import CofactorError

HEAVY = {
    "cofactor.report.make.make_report": 0.02, "cofactor.evaluate.comparison.compare": 0.1,
    "cofactor.evaluate.tuning.tune": 0.1, "cofactor.audit.cold_start_curve.cold_start": 0.1,
    "cofactor.capacity.planning.plan": 0.02,
    "cofactor.plots.factor_map.factor_map_png": 0.1, "cofactor.estimators.neural.NeuralMF.fit": 0.3,
}  # fmt: skip
"""Weights of callables that take long with valid arguments and are called less often; all others have weight 1."""

ALWAYS_BAD = {"cofactor.datasets.loading.fetch": "name", "cofactor.datasets.loading.load_movielens": "version"}
"""Arguments that are always bad: a valid name would be fetched."""

CALLBACKS = {"on_description", "callback", "on_fit", "on_progress", "on_section", "on_trial", "weigh", "rank"}
"""Arguments that are functions of the caller."""

WRITERS = (".save", ".write", ".write_csv", "_png")
"""Functions that are documented to raise OSError, with the path, where a file cannot be written."""

OF_OBJECTS = ("KindError", "MissingExtraError")
"""Errors about what the object of a method, or one of OBJECTS, cannot do."""

OBJECTS = {"recommender", "model", "estimator", "interactions"}

SYNONYMS = {
    "interactions": ("table", "rows", "users", "rating", "user column", "item column"), "source": ("table",),
    "table": ("user column", "item column"),
    "values": ("rating", "ratings"), "y": ("rating",), "p": ("prediction",), "measures": ("columns",),
    "users": ("rows",), "user_features": ("column",), "item_features": ("column",),
    "categories": ("lists",), "histories": ("means",), "history": ("rating of item",),
    "spec": ("model", "setting", "estimator"),
    "neighbors": ("similarity",), "id_column": ("column",), "model": ("users", "items", "histories"),
}  # fmt: skip
"""Other terms by which messages name an argument."""

MEMORY = 16 << 30
"""Bytes of addresses that this process may use: a larger request raises MemoryError, which is a finding."""


class Fuzz:
    """Draw calls and make them."""

    def __init__(self, folder: Path):
        self.samples = Samples(folder)
        self.samples.files()
        for make in self.samples.recommenders:  # a call of the fuzz has less time than the start
            make()
        self.bad = bad_values(self.samples)
        self.calls = {name: call for name, call in public_callables().items() if reason_not_fuzzed(call) is None}
        self.with_arguments = [name for name, call in self.calls.items() if self.samples.parameters(call)]

    def valid(self, call: PublicCallable, draw: random.Random | None) -> tuple[Any, dict[str, Any]]:
        """An object for a method, and valid arguments."""
        pick = (lambda n: 0) if draw is None else draw.randrange
        obj = None if call.owner is None else self.samples.object_of(call.owner, pick)
        return obj, self.samples.valid(call, obj)

    def schedule(self, seed: int) -> Iterator[tuple[str, int]]:
        """The callable of each call and the number of its earlier calls; turns are in proportion to the weights."""
        for _, name, k in heapq.merge(*(turns(seed, name) for name in self.with_arguments)):
            yield name, k

    def run_call(self, seed: int, number: int, name: str, k: int) -> None:
        """Make call `number`, which is call k of this callable."""
        draw = random.Random(f"{seed}-{name}-{k}")
        call = self.calls[name]
        obj, arguments = self.valid(call, draw)
        parameters = self.samples.parameters(call)
        names = sorted(draw.sample(sorted(parameters), min(len(parameters), draw.choice((1, 1, 2)))))
        if call.name in ALWAYS_BAD:
            names = sorted({*names, ALWAYS_BAD[call.name]})
        kinds = {name: draw.choice(list(self.bad)) for name in names}
        say({"number": number, "call": call.name, "object": type(obj).__name__, "bad": kinds})
        bad = {name: self.bad[kind]() for name, kind in kinds.items()}
        for name in bad.keys() & CALLBACKS:
            if callable(bad[name]):  # errors of the caller's own function are not errors of cofactor
                bad[name] = "a text"
        outcome = outcome_of(call, obj, {**arguments, **bad})
        if outcome["outcome"] == "ours":
            of_object = outcome["type"] in OF_OBJECTS and (obj is not None or bool(bad.keys() & OBJECTS))
            outcome["named"] = of_object or is_named(
                outcome["message"], (*bad, *related(parameters, bad)), bad.values()
            )
        elif outcome["outcome"] == "returned":
            outcome["accepted"] = [
                f"{name}={kinds[name]}"
                for name, value in bad.items()
                if not fits(str(parameters[name].annotation), value) and call.name != "cofactor.client.Client.train"
            ]
        say(outcome)
        if {"file name", "parquet"} & set(kinds.values()):  # the call may have written it
            self.samples.files()


def turns(seed: int, name: str) -> Iterator[tuple[float, str, int]]:
    """The calls of one callable, at regular distances from a random start."""
    start, weight = random.Random(f"{seed}-{name}").random(), HEAVY.get(name, 1.0)
    return (((start + k) / weight, name, k) for k in itertools.count())


def outcome_of(call: PublicCallable, obj: Any, arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the outcome of a call: "returned", "ours" (an error of cofactor) or "foreign"."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.simplefilter("ignore", ResourceWarning)  # from files in the bad values
        try:
            consume(call.call(*(() if call.owner is None else (obj,)), **arguments))
        except CofactorError as error:
            result = {"outcome": "ours", "type": type(error).__name__, "message": str(error)}
        except OSError as error:
            writes = call.name.endswith(WRITERS) and error.filename
            result = {
                "outcome": "ours" if writes else "foreign",
                "type": "OSError",
                "message": str(error) if writes else f"{error} {place(error)}",
                "at": place(error),
            }
        except BaseException as error:  # noqa: BLE001 - panics of polars are BaseExceptions
            result = {
                "outcome": "foreign",
                "type": type(error).__name__,
                "message": str(error)[:300],
                "at": place(error),
            }
        else:
            result = {"outcome": "returned"}
    if caught and result["outcome"] != "foreign":
        result = {"outcome": "foreign", "type": caught[0].category.__name__, "message": f"warning: {caught[0].message}",
                  "at": f"{caught[0].filename}:{caught[0].lineno}"}  # fmt: skip
    return result


def consume(result: Any) -> None:
    """Take a few items of an iterator; enter and exit a context."""
    if isinstance(result, Iterator):
        for _ in zip(range(3), result, strict=False):
            pass
    elif isinstance(result, AbstractContextManager) and not isinstance(result, Path):
        with result:
            pass


def place(error: BaseException) -> str:
    """The innermost line of cofactor in the traceback."""
    lines, trace = [], error.__traceback__
    while trace is not None:
        name = trace.tb_frame.f_code.co_filename
        if f"{os.sep}cofactor{os.sep}" in name:
            lines.append(f"{name.rpartition('cofactor' + os.sep)[2]}:{trace.tb_lineno}")
        trace = trace.tb_next
    return lines[-1] if lines else ""


def related(parameters: Mapping[str, Any], bad: Iterable[str]) -> list[str]:
    """The other arguments that a bad one must fit, such as columns of the same length: all but plain values."""
    if all(is_plain(parameters[name].annotation) for name in bad):
        return []
    return [name for name, parameter in parameters.items() if not is_plain(parameter.annotation)]


def is_plain(annotation: Any) -> bool:
    return str(annotation).removesuffix(" | None") in ("int", "float", "bool", "str", "Seed")


def is_named(message: str, names: Iterable[str], values: Iterable[Any]) -> bool:
    """Whether a message names one of the arguments, or a row, line or id of it."""
    terms = [term for name in names for term in (name, name.rstrip("_s"), *SYNONYMS.get(name, ()))]
    terms += [term.replace("_", " ") for term in terms]
    if any(re.search(rf"(?<![^\W_]){re.escape(term)}(?![^\W_])", message, re.IGNORECASE) for term in terms):
        return True
    texts = [str(value) for value in values if isinstance(value, str | Path) and str(value)]
    return any(message.startswith((f"{text} ", f"{text}:")) or (len(text) > 2 and text in message) for text in texts)


def fits(annotation: str, value: Any) -> bool:
    """Whether a value is of the plain type that an argument is annotated with; True for other annotations."""
    optional = annotation.endswith(" | None")
    if optional and value is None:
        return True
    integral = isinstance(value, int | np.integer) and not isinstance(value, bool)
    real = integral or (isinstance(value, float | np.floating) and np.isfinite(value))
    plain = {
        "int": integral,
        "float": real,
        "bool": isinstance(value, bool | np.bool_),
        "str": isinstance(value, str),
    }
    return plain.get(annotation.removesuffix(" | None"), True)


def say(line: Any) -> None:
    print(json.dumps(line), flush=True)


def listed(calls: Iterable[PublicCallable]) -> dict[str, str | None]:
    """Each public callable with the reason why it is not fuzzed, or None."""
    return {call.name: reason_not_fuzzed(call) for call in calls}


def unused(samples: Samples) -> list[str]:
    """Entries of the tables by name that no public callable has, such as those of a renamed one."""
    names = set(public_callables())
    tables = {*EXCEPTIONS, *HEAVY, *ALWAYS_BAD} - names | {*RECORDS} - {name.rpartition(".")[2] for name in names}
    return sorted([*tables, *(end for end in samples.by_call if not any(name.endswith(end) for name in names))])


def main(mode: str, *numbers: str) -> None:
    if mode == "list":
        say(listed(public_callables().values()))
        return
    if mode == "unused":
        say(unused(Samples(Path())))
        return
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        fuzz = Fuzz(Path(folder))
        if mode == "valid":
            for call in fuzz.calls.values():
                obj, arguments = fuzz.valid(call, None)
                say({"call": call.name, **outcome_of(call, obj, arguments)})
        else:
            seed, first, last = map(int, numbers)
            calls = itertools.islice(enumerate(fuzz.schedule(seed)), first, last)
            for number, (name, k) in calls:
                fuzz.run_call(seed, number, name, k)
        os.chdir("/")


if __name__ == "__main__":
    main(*sys.argv[1:])
