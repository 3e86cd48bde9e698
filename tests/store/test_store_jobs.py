"""Jobs have one worker at a time, and outlive it."""

from __future__ import annotations

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import text

from cofactor.errors import DataError, JobLostError, ParameterError, StoreError
from cofactor.store import Store, jobs

CLAIMER = """
import sys
from cofactor.store import Store
with Store.open(sys.argv[1]) as store:
    sys.stdin.readline()
    while job := store.jobs.claim(sys.argv[2]):
        print(job.id, flush=True)
"""


def silent_for(store: Store, seconds: float) -> None:
    """Make all heartbeats older."""
    sql = text("UPDATE jobs SET heartbeat = heartbeat - :seconds")
    store._writer.run(lambda connection: connection.execute(sql, {"seconds": seconds}).close())


def test_a_job_from_the_queue_to_its_end(store: Store) -> None:
    assert store.jobs.claim("t1") is None
    queued = store.jobs.enqueue("train", {"estimator": "bias", "seed": 0})
    assert (queued.state, queued.owner, queued.attempts, queued.progress) == ("queued", None, 0, 0.0)
    job = store.jobs.claim("t1")
    assert job is not None
    assert (job.id, job.state, job.owner, job.attempts) == (queued.id, "running", "t1", 1)
    assert job.spec == {"estimator": "bias", "seed": 0}
    assert store.jobs.claim("t2") is None
    store.jobs.heartbeat(job, progress=0.25, message="epoch 1 of 4")
    store.jobs.heartbeat(job)
    assert (store.jobs.get(job.id).progress, store.jobs.get(job.id).message) == (0.25, "epoch 1 of 4")
    store.jobs.finish(job, "model 3")
    done = store.jobs.get(job.id)
    assert (done.state, done.progress, done.message) == ("done", 1.0, "model 3")
    assert done.created <= (done.started or 0) <= (done.finished or 0)
    for late in (store.jobs.heartbeat, store.jobs.finish, lambda job: store.jobs.fail(job, "x")):
        with pytest.raises(JobLostError, match=f"job {job.id} is no longer assigned to t1"):
            late(job)


def test_a_job_that_fails(store: Store) -> None:
    store.jobs.enqueue("train")
    job = store.jobs.claim("t1")
    assert job is not None
    store.jobs.fail(job, "diverged\0" + "x" * 3_000)
    failed = store.jobs.get(job.id)
    assert failed.state == "failed"
    assert failed.message.startswith("diverged x")
    assert len(failed.message) == 2_000
    assert store.jobs.claim("t1") is None


def test_the_oldest_job_of_the_requested_kinds_is_claimed(store: Store) -> None:
    for kind in ("train", "audit", "train"):
        store.jobs.enqueue(kind)
    assert [job.kind for job in store.jobs.newest()] == ["train", "audit", "train"]
    assert store.jobs.claim("a", ["audit", "other"]).id == 2  # type: ignore[union-attr]
    assert store.jobs.claim("a", []) is None
    assert [store.jobs.claim("t").id for _ in range(2)] == [1, 3]  # type: ignore[union-attr]
    assert [job.id for job in store.jobs.newest(2)] == [3, 2]
    assert store.jobs.newest(state="queued") == []


def test_equal_jobs_are_queued_once(store: Store) -> None:
    with ThreadPoolExecutor(8) as pool:
        ids = {job.id for job in pool.map(lambda _: store.jobs.enqueue_once("train"), range(16))}
    assert len(ids) == 1
    assert store.jobs.enqueue_once("audit").id not in ids
    running = store.jobs.claim("t1", ["train"])
    assert running is not None
    assert store.jobs.enqueue_once("train").id != running.id


def test_a_job_without_heartbeats_is_requeued_and_fails_the_third_time(store: Store) -> None:
    store.jobs.enqueue("train")
    held = []
    for attempt in (1, 2, 3):
        job = store.jobs.claim(f"t{attempt}", stale_after=30)
        assert job is not None
        assert job.attempts == attempt
        held.append(job)
        silent_for(store, 29)
        assert store.jobs.claim("other", stale_after=30) is None  # not yet
        silent_for(store, 2)
        for lost in held[:-1]:
            with pytest.raises(JobLostError):
                store.jobs.finish(lost)
    assert store.jobs.claim("other", stale_after=30) is None
    failed = store.jobs.get(job.id)
    assert (failed.state, failed.message) == ("failed", "no heartbeat from t3 for 30 s (attempt 3 of 3)")


def test_a_heartbeat_keeps_a_job(store: Store) -> None:
    store.jobs.enqueue("train")
    job = store.jobs.claim("t1")
    assert job is not None
    silent_for(store, 50)
    store.jobs.heartbeat(job)
    silent_for(store, 50)
    assert store.jobs.claim("other") is None
    store.jobs.finish(job)


def test_a_restarted_worker_with_the_same_name_does_not_own_its_old_job(store: Store) -> None:
    store.jobs.enqueue("train")
    before = store.jobs.claim("t1")
    silent_for(store, 99)
    again = store.jobs.claim("t1")
    assert before is not None
    assert again is not None
    with pytest.raises(JobLostError):
        store.jobs.heartbeat(before)
    store.jobs.finish(again)


def test_a_jump_of_the_local_clock_has_no_effect(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.jobs.enqueue("train")
    job = store.jobs.claim("t1")
    assert job is not None
    real = time.time
    for jump in (1e7, -1e7):
        monkeypatch.setattr(time, "time", lambda jump=jump: real() + jump)
        assert store.jobs.claim("other") is None
        store.jobs.heartbeat(job)


def test_heartbeats_from_before_a_reboot_count_from_now(store: Store) -> None:
    store.jobs.enqueue("train")
    job = store.jobs.claim("t1")
    assert job is not None
    silent_for(store, -1e6)
    assert store.jobs.claim("other") is None
    silent_for(store, 61)
    taken = store.jobs.claim("other")
    assert taken is not None
    assert taken.id == job.id


@pytest.mark.long
def test_each_job_is_claimed_by_one_of_several_processes(store: Store, url: str) -> None:
    for _ in range(60):
        store.jobs.enqueue("train")
    command = [sys.executable, "-c", CLAIMER, url]
    pipe = subprocess.PIPE
    running = [subprocess.Popen([*command, f"t{n}"], stdin=pipe, stdout=pipe, text=True) for n in range(3)]
    for process in running:
        assert process.stdin is not None
    time.sleep(1.5)
    outputs = [process.communicate("go\n", timeout=60)[0].split() for process in running]
    assert sorted(int(job) for output in outputs for job in output) == list(range(1, 61))
    assert {job.attempts for job in store.jobs.newest()} == {1}


def test_each_job_is_claimed_by_one_thread_of_several_stores(store: Store, url: str) -> None:
    for _ in range(40):
        store.jobs.enqueue("train")
    others = [Store.open(url) for _ in range(3)]
    with ThreadPoolExecutor(12) as pool:
        won = list(pool.map(lambda n: others[n % 3].jobs.claim(f"t{n}"), range(50)))
    for other in others:
        other.close()
    ids = [job.id for job in won if job is not None]
    assert len(ids) == len(set(ids))
    left = [job.id for job in store.jobs.newest(state="queued")]
    assert sorted(ids + left) == list(range(1, 41))


def test_invalid_arguments_are_rejected(store: Store) -> None:
    with pytest.raises(StoreError, match="there is no job 7"):
        store.jobs.get(7)
    with pytest.raises(DataError, match="the job's spec cannot be stored as JSON"):
        store.jobs.enqueue("train", {"x": object()})
    with pytest.raises(DataError, match="the job's kind is empty"):
        store.jobs.enqueue("")
    with pytest.raises(ParameterError, match="state must be one of queued, running, done, failed, not 'lost'"):
        store.jobs.newest(state="lost")  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="stale_after must be a positive number of seconds; got 0"):
        store.jobs.claim("t1", stale_after=0)
    store.jobs.enqueue("train")
    job = store.jobs.claim("t1")
    assert job is not None
    with pytest.raises(DataError, match="the progress must be between 0 and 1"):
        store.jobs.heartbeat(job, progress=1.5)
    with pytest.raises(DataError, match="the message of a job must be a string"):
        store.jobs.finish(job, 7)  # type: ignore[arg-type]
    assert jobs.MAX_ATTEMPTS == 3
