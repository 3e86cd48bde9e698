"""Settings of the caller's process: threads of BLAS and torch and the log of optuna are restored."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from threadpoolctl import ThreadpoolController

import cofactor
from cofactor.data.interactions import Interactions
from cofactor.errors import ParameterError
from cofactor.estimators import REGISTRY
from cofactor.kernels.parallel import (
    SharedLimit,
    cpu_quota,
    one_thread_blas,
    parallel_for,
    parallel_map,
    thread_count,
    threads,
)
from tests.support.estimators import small


def blas_threads() -> list[int]:
    return [library.num_threads for library in ThreadpoolController().lib_controllers if library.user_api == "blas"]


@pytest.fixture
def two_blas_threads() -> Iterator[None]:
    with ThreadpoolController().limit(limits=2, user_api="blas"):
        assert set(blas_threads()) == {2}
        yield


@pytest.fixture(params=sorted(REGISTRY))
def estimator(request: pytest.FixtureRequest) -> Any:
    return small(request.param)


@pytest.mark.usefixtures("two_blas_threads")
def test_blas_threads_are_restored_after_every_call(
    estimator: Any, small_ratings: Interactions, small_events: Interactions
) -> None:
    table = small_events if estimator.kind == "events" else small_ratings
    inside: list[int] = []
    rec = cofactor.Recommender.fit(estimator, table, callback=lambda _: inside.extend(blas_threads()))
    assert set(blas_threads()) == {2}
    assert not inside or 1 in inside  # callbacks run inside the fit; other libraries may have a BLAS of their own
    calls = {
        "recommend": lambda: rec.recommend("user 3"),
        "recommend_all": lambda: rec.recommend_all(3),
        "predict": lambda: rec.predict("user 3", "item 5"),
        "similar_items": lambda: rec.similar_items("item 5"),
        "explain": lambda: rec.explain("user 3", "item 5"),
        "for_history": lambda: rec.for_history([("item 5", 4)]).recommend(),
        "updated": lambda: rec.updated(table.select(np.arange(len(table)) < 3)),
        "with_priors": rec.with_priors,
        "evaluate": lambda: cofactor.evaluate.score(rec, cofactor.split_random(table), label="x"),
    }
    for name, call in calls.items():
        with suppress(cofactor.CofactorError):  # not every model supports all of these
            call()
        assert set(blas_threads()) == {2}, name


@pytest.mark.usefixtures("two_blas_threads")
def test_blas_threads_are_restored_after_a_failed_fit(small_ratings: Interactions) -> None:
    def stop(_: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cofactor.ExplicitALS(factors=2).fit(small_ratings, callback=stop)
    assert set(blas_threads()) == {2}


@pytest.mark.usefixtures("two_blas_threads")
def test_the_limit_lasts_until_the_last_thread_is_done() -> None:
    inside, leave = threading.Barrier(3, timeout=20), threading.Event()

    def hold() -> None:
        with one_thread_blas():
            inside.wait()
            leave.wait(20)

    held = [threading.Thread(target=hold) for _ in range(2)]
    for thread in held:
        thread.start()
    inside.wait()
    with one_thread_blas():
        assert 1 in blas_threads()
    assert 1 in blas_threads()  # two others still need it
    leave.set()
    for thread in held:
        thread.join(20)
    assert set(blas_threads()) == {2}


def test_many_threads_enter_and_leave_a_limit_at_once() -> None:
    state, wrong = [5], []

    def limit() -> Any:
        before, state[0] = state[0], 1
        return lambda: state.__setitem__(0, before)

    shared = SharedLimit(limit)

    def enter() -> None:
        for _ in range(300):
            with shared():
                if state[0] != 1:
                    wrong.append(state[0])

    running = [threading.Thread(target=enter) for _ in range(8)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join(60)
    assert wrong == []
    assert state == [5]


@pytest.mark.skipif(not hasattr(sys, "getwindowsversion") and sys.platform == "win32", reason="needs fork")
def test_a_child_made_by_fork_inside_a_fit_has_its_threads() -> None:
    script = """
import os, warnings
warnings.simplefilter("ignore")
from threadpoolctl import ThreadpoolController
from cofactor.kernels.parallel import one_thread_blas
import numpy
controller = ThreadpoolController().select(user_api="blas")
controller.limit(limits=2)
with one_thread_blas():
    if (child := os.fork()) == 0:
        counts = {library.num_threads for library in controller.lib_controllers}
        os._exit(0 if counts == {2} else 7)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert {library.num_threads for library in controller.lib_controllers} == {2}
"""
    source = str(Path(cofactor.__file__).parents[1])
    done = subprocess.run([sys.executable, "-c", f"import sys; sys.path.insert(0, {source!r})\n{script}"],
                          capture_output=True, text=True, timeout=60, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(find_spec("torch") is None, reason="torch is not installed")
def test_torch_threads_are_restored_after_overlapping_fits(small_ratings: Interactions) -> None:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        spec = cofactor.NeuralMF(epochs=2)
        running = [threading.Thread(target=lambda: spec.fit(small_ratings)) for _ in range(2)]
        for thread in running:
            thread.start()
            time.sleep(0.05)
        for thread in running:
            thread.join(120)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_for_each_inside_for_each_runs_all_tasks() -> None:
    script = """
import threading
from cofactor.kernels.parallel import parallel_for, parallel_map, threads
with threads(2):
    inner = lambda a, b: parallel_map(lambda c: 9 * a + 3 * b + c, range(3))
    done = parallel_map(lambda a: parallel_map(lambda b: inner(a, b), range(3)), range(6))
assert [c for a in done for b in a for c in b] == list(range(54))

def user() -> None:
    with threads(2):
        parallel_for(lambda a: parallel_for(lambda b: None, range(4)), range(4))

users = [threading.Thread(target=user) for _ in range(6)]
for thread in users: thread.start()
for thread in users: thread.join()
"""
    source = str(Path(cofactor.__file__).parents[1])
    done = subprocess.run([sys.executable, "-c", f"import sys; sys.path.insert(0, {source!r})\n{script}"],
                          capture_output=True, text=True, timeout=60, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_an_error_in_an_inner_for_each_is_raised_and_the_next_call_runs_in_parallel() -> None:
    def fail(_: int) -> None:
        raise ZeroDivisionError

    with threads(2):
        with pytest.raises(ZeroDivisionError):
            parallel_for(lambda _: parallel_for(fail, [1]), range(4))
        both = threading.Barrier(2, timeout=20)
        assert sorted(parallel_map(lambda _: both.wait(), range(2))) == [0, 1]  # needs two threads at once


def groups(root: Path, lines: str, files: dict[str, str]) -> Path:
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(lines)
    for name, text in files.items():
        path = root / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize(
    ("lines", "files", "quota"),
    [
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 1.5),
        ("0::/\n", {"cpu.max": "max 100000\n"}, None),
        ("0::/\n", {}, None),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000\n", "a/cpu.max": "200000 50000\n"}, 4.0),
        ("0::/a/b\n", {"a/b/cpu.max": "300000 100000\n", "a/cpu.max": "200000 100000\n"}, 2.0),
        ("0::/gone\n", {"cpu.max": "50000 100000\n"}, 0.5),
        ("4:cpu,cpuacct:/x\n", {"cpu/x/cpu.cfs_quota_us": "300000", "cpu/x/cpu.cfs_period_us": "100000"}, 3.0),
        ("4:cpu,cpuacct:/x\n", {"cpu/x/cpu.cfs_quota_us": "-1", "cpu/x/cpu.cfs_period_us": "100000"}, None),
        ("4:cpu,cpuacct:/x\n", {"cpu/cpu.cfs_quota_us": "100000", "cpu/cpu.cfs_period_us": "100000"}, 1.0),
        ("3:memory:/y\n", {"y/cpu.max": "100000 100000", "cpu.max": "100000 100000"}, None),
        ("0::/\n", {"cpu.max": "many 100000\n"}, None),
        ("0::/\n", {"cpu.max": "0 0\n"}, None),
        ("", {"cpu.max": "100000 100000\n"}, None),
        ("0::/../../other\n", {"cpu.max": "100000 100000\n"}, 1.0),
    ],
)  # fmt: skip
def test_the_quota_of_a_container(tmp_path: Path, lines: str, files: dict[str, str], quota: float | None) -> None:
    assert cpu_quota(groups(tmp_path, lines, files)) == quota


@pytest.mark.parametrize(
    ("quota", "cores", "count"), [(1.5, 4, 1), (3.0, 4, 3), (0.5, 4, 1), (9.0, 4, 4), (None, 4, 4)]
)
def test_the_number_of_threads_respects_the_quota(
    monkeypatch: pytest.MonkeyPatch, quota: float | None, cores: int, count: int
) -> None:
    monkeypatch.setattr("cofactor.kernels.parallel.cpu_quota", lambda root: quota)
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(cores)))
    monkeypatch.delenv("COFACTOR_THREADS", raising=False)
    from cofactor.kernels import parallel as module

    module._process_quota.cache_clear()
    try:
        assert thread_count() == count
        with threads(7):
            assert thread_count() == 7
        monkeypatch.setenv("COFACTOR_THREADS", "5")
        assert thread_count() == 5
    finally:
        monkeypatch.undo()
        module._process_quota.cache_clear()


@pytest.mark.parametrize("n", [0, -1, 1.5, True, None, "2", 2**40])
def test_a_number_of_threads_is_a_whole_number(n: Any) -> None:
    with pytest.raises(ParameterError, match=r"^n must be an integer from 1 to 1024, not "), threads(n):
        pass


@pytest.mark.skipif(find_spec("optuna") is None, reason="optuna is not installed")
def test_tuning_does_not_change_the_log_of_optuna(
    small_ratings: Interactions, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    import optuna

    verbosity, log = optuna.logging.get_verbosity(), logging.getLogger("optuna")
    handlers, propagate = list(log.handlers), log.propagate
    optuna.logging.set_verbosity(optuna.logging.INFO)
    try:
        with caplog.at_level(logging.DEBUG, logger="cofactor"):
            cofactor.evaluate.tune(cofactor.Bias(), cofactor.split_random(small_ratings), trials=2)
        assert optuna.logging.get_verbosity() == optuna.logging.INFO
        assert (log.handlers, log.propagate) == (handlers, propagate)
        assert capsys.readouterr() == ("", "")
        records = [record for record in caplog.records if "optuna: " in record.getMessage()]
        assert records
        assert {(record.name, record.levelno) for record in records} == {("cofactor", logging.DEBUG)}
    finally:
        optuna.logging.set_verbosity(verbosity)
