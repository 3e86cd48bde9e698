"""Processes created by `fork` work or raise an error: none waits for threads that only its parent has."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = """
import json, os, sys, time, warnings
import cofactor, polars as pl
from cofactor.kernels.parallel import parallel_for

warnings.simplefilter("ignore")
n = 1500
frame = pl.DataFrame({
    "user": [f"u{at * 7 % 90}" for at in range(n)], "item": [f"i{at * 11 % 130}" for at in range(n)],
    "rating": [at % 5 + 1.0 for at in range(n)], "time": [880_000_000 + at for at in range(n)],
})
table = pl.DataFrame({"item": [f"i{at}" for at in range(130)], "title": [f"t{at}" for at in range(130)],
                      "genres": ["a|b", "b"] * 65})


def answers(name, work, seconds=20):
    "Return the result of the work in a child, its error, or 'no answer' after this number of seconds."
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        try:
            os.write(writing, json.dumps(work()).encode())
        except BaseException as error:
            os.write(writing, json.dumps(f"{type(error).__name__}: {error}").encode())
        os._exit(0)
    end = time.monotonic() + seconds
    while time.monotonic() < end and os.waitpid(child, os.WNOHANG) == (0, 0):
        time.sleep(0.005)
    os.close(writing)
    if time.monotonic() >= end:
        os.kill(child, 9)
        os.waitpid(child, 0)
        return "no answer"
    return json.loads(os.read(reading, 1 << 20))


def small():
    return len(cofactor.Interactions.from_columns(["a", "b"], ["x", "y"], [1, 2]))


outcomes = {"before": answers("before", small)}
frame.write_csv("r.csv")
frame.write_parquet("r.parquet")
ratings = cofactor.read_ratings("r.csv").with_item_table(table)
rec = cofactor.Recommender.fit(cofactor.ExplicitALS(factors=4, epochs=2), ratings).ensure_priors()
rec.save("r.cofactor")
eased = rec.ensure_priors()
knn = cofactor.Recommender.fit(cofactor.ItemKNN(), ratings.to_events(min_rating=4))
new = cofactor.Interactions.from_columns(["zoe"], ["i1"], [5], times=[900_000_000])
split = cofactor.split_random(ratings)
users, items = frame["user"].to_list()[:200], frame["item"].to_list()[:200]
WORK = {
    "read_ratings": lambda: len(cofactor.read_ratings("r.csv")),
    "read_ratings of parquet": lambda: len(cofactor.read_ratings("r.parquet")),
    "read_ratings of a frame": lambda: len(cofactor.read_ratings(frame)),
    "read_events": lambda: len(cofactor.read_events("r.csv")),
    "read_table": lambda: len(cofactor.read_table("r.csv")),
    "read_table of a frame": lambda: len(cofactor.read_table(frame.lazy())),
    "from_columns": small,
    "from_columns of integers": lambda: len(cofactor.Interactions.from_columns([1, 2], [3, 4], [1, 2])),
    "with_item_table": lambda: len(ratings.with_item_table(table)),
    "load": lambda: len(cofactor.Recommender.load("r.cofactor").items),
    "save": lambda: rec.save("s.cofactor"),
    "updated": lambda: len(rec.updated(new).users),
    "with_items": lambda: len(eased.with_items(pl.DataFrame({"item": ["new"], "title": ["t"], "genres": ["a"]})).items),
    "predict": lambda: len(rec.predict(users, items)),
    "recommend": lambda: rec.recommend("u1", n=3)["item"].to_list(),
    "recommend many": lambda: len(rec.recommend(users[:80])),
    "recommend_all": lambda: len(rec.recommend_all()),
    "for_history": lambda: len(rec.for_history({"i1": 5}).recommend()),
    "explain": lambda: len(rec.explain("u1", "i1")),
    "similar_items": lambda: len(rec.similar_items("i1")),
    "similar_users": lambda: len(rec.similar_users("u1")),
    "recommend by neighbors": lambda: len(knn.recommend("u1")),
    "fit": lambda: len(cofactor.Recommender.fit(cofactor.BiasedMF(factors=4, epochs=2), ratings).users),
    "frame": lambda: len(ratings.frame()),
    "split": lambda: len(cofactor.split_last(ratings).test),
    "evaluate": lambda: type(cofactor.evaluate.evaluate(cofactor.Bias(), split)).__name__,
    "compare": lambda: type(cofactor.evaluate.compare([cofactor.Bias(), cofactor.BiasedMF()], split)).__name__,
    "crosstab": lambda: len(str(cofactor.crosstab(ratings))),
    "levels": lambda: len(cofactor.interpret.bias_ranking(rec)),
    "surprising_items": lambda: len(cofactor.interpret.surprising_items(rec)),
    "exposure": lambda: str(cofactor.audit.exposure(knn))[:20],
    "exposure of genres": lambda: str(cofactor.audit.exposure(knn, column="genres"))[:20],
    "parallel_for": lambda: parallel_for(lambda _: None, range(100)),
    "a grandchild": lambda: answers("grandchild", lambda: len(cofactor.read_ratings("r.csv"))),
}
outcomes |= {name: answers(name, work) for name, work in WORK.items()}
outcomes["recommend in the parent"] = rec.recommend("u1", n=3)["item"].to_list()
print(json.dumps(outcomes))
"""

SPAWNED = """
import multiprocessing, cofactor

def rows(path):
    return len(cofactor.read_ratings(path))

if __name__ == "__main__":
    cofactor.read_ratings("r.csv")
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(pool.map(rows, ["r.csv"]))
"""

NEEDS_THREADS = {
    "read_ratings", "read_ratings of parquet", "read_ratings of a frame", "read_events", "read_table",
    "read_table of a frame", "from_columns", "from_columns of integers", "with_item_table", "load", "save", "updated",
    "with_items", "split", "compare", "levels", "surprising_items", "exposure of genres", "a grandchild",
}  # fmt: skip


def run(folder: Path, script: str) -> str:
    (folder / "script.py").write_text(script)
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=folder, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.long
def test_a_forked_child_answers_or_reports_why_not(tmp_path: Path) -> None:
    answers: dict[str, Any] = json.loads(run(tmp_path, SCRIPT))
    assert answers.pop("before") == 2
    assert answers["recommend"] == answers.pop("recommend in the parent")
    for name, answer in answers.items():
        if name in NEEDS_THREADS:
            assert str(answer).startswith("ForkError: this process was forked from one that had used polars"), name
            assert 'multiprocessing.get_context("spawn")' in answer
        else:
            assert answer != "no answer", name
            assert "Error: " not in str(answer), (name, answer)


@pytest.mark.long
def test_the_advice_to_spawn_works(tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text("user,item,rating\na,x,1\nb,y,2\n")
    assert run(tmp_path, SPAWNED).strip() == "[2]"
