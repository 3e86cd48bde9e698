"""A damaged model file is an ArtifactError or a recommender that works: never a crash, a hang or a foreign error.

Child processes load the files, so that an abort is seen.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import cofactor
from cofactor.data.artifact import read_artifact, write_artifact
from cofactor.errors import ArtifactError
from cofactor.estimators import REGISTRY

PRELUDE = """
import copy, json, sys
from collections import Counter
from pathlib import Path
import numpy as np
import cofactor
from cofactor.data.artifact import read_artifact, write_artifact
from cofactor.errors import ArtifactError, CofactorError
from tests.support.estimators import small

folder, seed, n, names = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4].split()
rng = np.random.default_rng(seed)
draw = np.random.default_rng(3)
pairs = np.unique(draw.integers(0, [12, 9], (60, 2)), axis=0)
users, values, times = [f"ü{u}" for u in pairs[:, 0]], draw.integers(1, 6, len(pairs)), np.arange(len(pairs)) * 86400
films = {"item": range(9), "title": [f"Film {i}" for i in range(9)], "genres": ["a|b", "b", "c"] * 3}
ratings = cofactor.Interactions.from_columns(users, pairs[:, 1], values, times=times).with_item_table(films)
ids = sorted(set(users))
ratings = ratings.with_user_table({"user": ids, "age": range(20, 20 + len(ids))})
events = cofactor.Interactions.from_columns(users, pairs[:, 1], kind="events").with_item_table(films)
files = {}
for name in names:
    estimator = small(name, time_bin=86400)
    rec = cofactor.Recommender.fit(estimator, events if estimator.kind == "events" else ratings)
    try:
        rec = rec.with_priors(item_features=["genres"], user_features=[] if rec.kind == "events" else ["age"])
    except CofactorError:
        pass
    files[name] = folder / name
    rec.save(files[name])

def calls(rec):
    events = rec.kind == "events"
    new = cofactor.Interactions.from_columns(["ü1", "new"], [2, 3], [5, 4], kind=rec.kind)
    first = rec.users.all[0]
    yield lambda: rec.recommend_all(3, diversity=0.3)
    yield lambda: rec.recommend(first, rank_by="lower")
    yield lambda: rec.for_history([1, 2] if events else [(1, 5), (2, 1)]).recommend()
    yield lambda: rec.for_history([(1, 5)], user_features={"age": 30}).recommend()
    yield lambda: rec.predict(first, list(range(9)))
    yield lambda: rec.predict("ü1", 3, times=86400 * 3)
    yield lambda: rec.explain(first, 3)
    yield lambda: rec.similar_items(3)
    yield lambda: rec.similar_users("ü1")
    yield lambda: rec.updated(new).recommend("new")
    yield lambda: rec.with_items({"item": [100], "genres": ["a"]})
    yield lambda: rec.for_history([]).questions().next_item()
    yield lambda: (repr(rec), rec.titles, rec.support)
    yield lambda: rec.save(folder / "again")

outcomes = Counter()

def use(label, path, verify):
    print(label, verify, file=sys.stderr, flush=True)
    try:
        rec = cofactor.Recommender.load(path, verify=verify)
    except ArtifactError:
        outcomes["rejected"] += 1
        return
    except BaseException as problem:
        outcomes[f"FOREIGN at load of {label}: {type(problem).__name__}: {problem}"] += 1
        return
    outcomes["loaded"] += 1
    for at, call in enumerate(calls(rec)):
        try:
            call()
        except CofactorError:
            pass
        except BaseException as problem:
            outcomes[f"FOREIGN at call {at} of {label}: {type(problem).__name__}: {problem}"] += 1

def rewritten(label, arrays, manifest):
    path = folder / "x"
    path.unlink(missing_ok=True)
    try:
        write_artifact(path, arrays, manifest)
    except ArtifactError:  # an array of a type that no model has
        return
    use(label, path, True)
"""

FLIPS = """
for k in range(n):
    name = names[k % len(names)]
    raw = bytearray(files[name].read_bytes())
    bit = int(rng.integers(len(raw) * 8))
    raw[bit // 8] ^= 1 << (bit % 8)
    (folder / "x").write_bytes(raw)
    use(f"{name}, bit {bit}", folder / "x", k % 10 == 0)
for k in range(n // 2):
    name = names[k % len(names)]
    raw = files[name].read_bytes()
    first, last = sorted(rng.integers(0, len(raw) + 1, 2).tolist())
    gap = bytes(last - first)
    variants = raw[:first], raw[:first] + raw[last:], raw + gap, raw[:first] + gap + raw[last:]
    (folder / "x").write_bytes(variants[k % 4])
    use(f"{name}, {first} to {last}, variant {k % 4}", folder / "x", False)
"""

ARRAYS = """
def changes(array):
    yield "cut", array[:-1] if array.ndim else array
    yield "longer", np.concatenate([array, array[-1:]]) if array.ndim else array
    yield "empty", array[:0] if array.ndim else array
    yield "another axis", array[None]
    for dtype in ("f4", "f8", "i4", "i8", "u1", "?"):
        yield dtype, array.astype(dtype)
    for value in (2**30, -5, np.nan, 0, 1e30, 255):
        if array.size and (np.isfinite(value) or array.dtype.kind == "f"):
            changed = array.reshape(-1).copy()
            changed[rng.integers(array.size)] = np.array(value).astype(array.dtype)
            yield f"one {value}", changed.reshape(array.shape)
    if array.ndim:
        yield "shuffled", rng.permutation(array)

with np.errstate(all="ignore"):
    for name in names:
        artifact = read_artifact(files[name])
        todo = [(which, None, None) for which in artifact.arrays]
        todo += [(which, *change) for which, array in artifact.arrays.items() for change in changes(np.array(array))]
        for at in rng.permutation(len(todo))[:n]:
            which, what, array = todo[at]
            arrays = dict(artifact.arrays)
            if array is None:
                del arrays[which]
            else:
                arrays[which] = np.ascontiguousarray(array)
            rewritten(f"{name}, {which} {what}", arrays, artifact.manifest)
"""

MANIFESTS = """
NONSENSE = [
    None, -1, 0, 1, 1e308, float("nan"), "x", "", [], {}, True, [None], 2**70, 10**9, [1, 2], -0.5, "Ü" * 300, "deleted"
]

def places(value, at=()):
    if at:
        yield at
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield from places(value[key], (*at, key))

for name in names:
    artifact = read_artifact(files[name])
    todo = [(place, value) for place in places(artifact.manifest) for value in NONSENSE]
    for at in rng.permutation(len(todo))[:n]:
        place, value = todo[at]
        manifest = copy.deepcopy(artifact.manifest)
        inner = manifest
        for key in place[:-1]:
            inner = inner[key]
        if value == "deleted":
            del inner[place[-1]]
        else:
            inner[place[-1]] = value
        rewritten(f"{name}, {place} = {value!r}", artifact.arrays, manifest)
"""


def outcomes(tmp_path: Path, script: str, n: int, *, seed: int = 0) -> Counter[str]:
    """Return counts of the outcomes in a child process; foreign errors and a crash fail the test."""
    paths = [str(Path(cofactor.__file__).parents[1]), str(Path(__file__).parents[2])]
    child = subprocess.run(
        [
            sys.executable,
            "-c",
            f"{PRELUDE}{script}\nprint(json.dumps(outcomes))",
            tmp_path,
            str(seed),
            str(n),
            " ".join(REGISTRY),
        ],
        capture_output=True,
        text=True,
        timeout=1500,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONFAULTHANDLER": "1", "CUDA_VISIBLE_DEVICES": ""},
    )
    assert child.returncode == 0, child.stderr[-3000:]
    counts: Counter[str] = Counter(json.loads(child.stdout.splitlines()[-1]))
    assert not [what for what in counts if "FOREIGN" in what]
    return counts


@pytest.mark.long
def test_flipped_bits_and_truncation(tmp_path: Path) -> None:
    counts = outcomes(tmp_path, FLIPS, 80)
    assert counts["rejected"] > 60
    assert counts["loaded"] > 5  # bits of floating-point numbers, with verify=False


@pytest.mark.long
def test_mismatched_arrays(tmp_path: Path) -> None:
    counts = outcomes(tmp_path, ARRAYS, 15)
    assert counts["rejected"] > 40
    assert counts["loaded"] > 5


@pytest.mark.long
def test_invalid_manifests(tmp_path: Path) -> None:
    counts = outcomes(tmp_path, MANIFESTS, 15)
    assert counts["rejected"] > 60
    assert counts["loaded"] > 2


@pytest.mark.long
@pytest.mark.parametrize(
    ("script", "n"), [(FLIPS, 1500), (ARRAYS, 60), (MANIFESTS, 60)], ids=["flips", "arrays", "manifests"]
)
def test_more_damage(tmp_path: Path, script: str, n: int) -> None:
    counts = outcomes(tmp_path, script, n, seed=1)
    assert counts["rejected"] > 0
    assert counts["loaded"] > 0


def saved(path: Path) -> cofactor.Recommender:
    ratings = cofactor.Interactions.from_columns(["ana", "bo", "bo"], ["alien", "alien", "clue"], [5, 4, 2])
    rec = cofactor.Recommender.fit(cofactor.Bias(), ratings.with_item_table({"item": ["alien", "clue"]}))
    rec.save(path)
    return rec


def flip_last_byte(path: Path, name: str) -> None:
    """Change the last byte of an array in a model's file."""
    raw = bytearray(path.read_bytes())
    begin = 8 + int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8:begin])
    raw[begin + header[name]["data_offsets"][1] - 1] ^= 1
    path.write_bytes(raw)


@pytest.mark.parametrize("name", ["users.text", "items.offsets", "histories.columns", "histories.start", "item_table"])
def test_without_verifying_ids_histories_and_tables_are_still_checked(tmp_path: Path, name: str) -> None:
    saved(tmp_path / "m")
    flip_last_byte(tmp_path / "m", name)
    for verify in (True, False):
        with pytest.raises(ArtifactError, match=f"m is damaged: the checksum of '{name}' does not match"):
            cofactor.Recommender.load(tmp_path / "m", verify=verify)


def test_a_changed_value_is_detected_by_verifying(tmp_path: Path) -> None:
    rec = saved(tmp_path / "m")
    assert cofactor.Recommender.load(tmp_path / "m", verify=False).recommend("ana").equals(rec.recommend("ana"))
    flip_last_byte(tmp_path / "m", "model.item_bias")
    assert len(cofactor.Recommender.load(tmp_path / "m", verify=False).recommend("ana")) == 1
    with pytest.raises(ArtifactError, match=r"the checksum of 'model\.item_bias' does not match"):
        cofactor.Recommender.load(tmp_path / "m")


def test_parts_of_two_models_are_not_combined(tmp_path: Path) -> None:
    saved(tmp_path / "m")
    artifact = read_artifact(tmp_path / "m")
    arrays = {**artifact.arrays, "items.text": np.frombuffer(b"alienclue9", np.uint8)}
    arrays["items.offsets"] = np.array([0, 5, 9, 10], np.int64)
    write_artifact(tmp_path / "other", arrays, artifact.manifest)
    with pytest.raises(ArtifactError, match=r"other is not valid \(the table must have 3 rows; got 2\)"):
        cofactor.Recommender.load(tmp_path / "other")
    for scale in ({"low": 1.0, "high": "five", "levels": []}, [1, 5], {"low": 1.0}):
        write_artifact(tmp_path / "other", artifact.arrays, {**artifact.manifest, "scale": scale})
        with pytest.raises(ArtifactError, match="other is not valid"):
            cofactor.Recommender.load(tmp_path / "other")
