"""Registry of public data sets that can be fetched, with their published counts, checksums and terms of use."""

from __future__ import annotations

from dataclasses import dataclass

from cofactor.datasets.movielens import CSV, DAT, DAT_WITH_USERS, RECBOLE, U_DATA, Layout

__all__ = ["DATASETS", "Dataset", "Mirror"]

PUBLISHER = "https://files.grouplens.org/datasets/movielens"
CITATION = (
    "F. Maxwell Harper and Joseph A. Konstan. 2015. The MovieLens Datasets: History and Context. "
    "ACM Transactions on Interactive Intelligent Systems 5, 4, Article 19. https://doi.org/10.1145/2827872"
)
TERMS = (
    "For research. No endorsement by the University of Minnesota or the GroupLens Research Group may be "
    "stated or implied; publications must acknowledge the data; no commercial or revenue-bearing use without "
    "permission from GroupLens; no warranty of any kind. {} The full terms: {}"
)
NO_REDISTRIBUTION = "The data may not be redistributed without separate permission."
REDISTRIBUTION_ALLOWED = "The data, including transformations of it, may be redistributed under these same conditions."
WHOLE_STARS = (1.0, 2.0, 3.0, 4.0, 5.0)
HALF_STARS = tuple(half / 2 for half in range(1, 11))


@dataclass(frozen=True)
class Mirror:
    """Python wheel with the same ratings as a data set; it is downloaded and unzipped, never installed or imported.

    Attributes
    ----------
    requirement : str
        Requirement for pip, as name==version.
    folder : str
        Folder in the wheel that contains the files.
    layout : Layout
        Layout of the files.
    sha256 : str or None
        SHA-256 of the wheel; None to skip the check.
    """

    requirement: str
    folder: str
    layout: Layout
    sha256: str | None = None


@dataclass(frozen=True)
class Dataset:
    """Published data set: its location, counts, checksums and terms of use.

    Attributes
    ----------
    name : str
        Name in the registry.
    url : str
        URL of the zip archive; its MD5 is read from `<url>.md5`.
    ratings, users, items : int
        Published counts; `items` counts items with at least one rating.
    rating_levels : tuple of float
        Possible ratings.
    layout : Layout
        Layout of the files in the archive.
    folder : str
        Folder in the archive and in `COFACTOR_DATA`.
    terms, citation : str
        Summary of the terms of use, and the publication to cite.
    is_updated : bool
        Whether the publisher updates the data set; its counts are then not checked.
    archive_md5 : str or None
        Published MD5 of the archive, used if `<url>.md5` is not available.
    ratings_sha256 : str or None
        SHA-256 of the canonical ratings file; None to skip the check.
    mirror : Mirror or None
        Alternative source, used if the download from the publisher fails.

    Examples
    --------
    >>> dataset = DATASETS["movielens-100k"]
    >>> dataset.ratings, dataset.users, dataset.items, dataset.rating_levels
    (100000, 943, 1682, (1.0, 2.0, 3.0, 4.0, 5.0))
    """

    name: str
    url: str
    ratings: int
    users: int
    items: int
    rating_levels: tuple[float, ...]
    layout: Layout
    folder: str
    terms: str
    citation: str = CITATION
    is_updated: bool = False
    archive_md5: str | None = None
    ratings_sha256: str | None = None
    mirror: Mirror | None = None


DATASETS: dict[str, Dataset] = {
    "movielens-100k": Dataset(
        "movielens-100k",
        f"{PUBLISHER}/ml-100k.zip",
        ratings=100_000,
        users=943,
        items=1_682,
        rating_levels=WHOLE_STARS,
        layout=U_DATA,
        folder="ml-100k",
        terms=TERMS.format(NO_REDISTRIBUTION, f"{PUBLISHER}/ml-100k-README.txt"),
        archive_md5="0e33842e24a9c977be4e0107933c0723",
        ratings_sha256="06416e597f82b7342361e41163890c81036900f418ad91315590814211dca490",
        mirror=Mirror(
            "recbole==1.2.1",
            "recbole/dataset_example/ml-100k",
            RECBOLE,
            sha256="9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407",
        ),
    ),
    "movielens-latest-small": Dataset(
        "movielens-latest-small",
        f"{PUBLISHER}/ml-latest-small.zip",
        ratings=100_836,
        users=610,
        items=9_724,
        rating_levels=HALF_STARS,
        layout=CSV,
        folder="ml-latest-small",
        terms=TERMS.format(REDISTRIBUTION_ALLOWED, f"{PUBLISHER}/ml-latest-small-README.html"),
        is_updated=True,
    ),
    "movielens-1m": Dataset(
        "movielens-1m",
        f"{PUBLISHER}/ml-1m.zip",
        ratings=1_000_209,
        users=6_040,
        items=3_706,
        rating_levels=WHOLE_STARS,
        layout=DAT_WITH_USERS,
        folder="ml-1m",
        terms=TERMS.format(NO_REDISTRIBUTION, f"{PUBLISHER}/ml-1m-README.txt"),
        archive_md5="c4d9eecfca2ab87c1945afe126590906",
    ),
    "movielens-10m": Dataset(
        "movielens-10m",
        f"{PUBLISHER}/ml-10m.zip",
        ratings=10_000_054,
        users=69_878,
        items=10_677,
        rating_levels=HALF_STARS,
        layout=DAT,
        folder="ml-10M100K",
        terms=TERMS.format(NO_REDISTRIBUTION, f"{PUBLISHER}/ml-10m-README.html"),
        archive_md5="ce571fd55effeba0271552578f2648bd",
    ),
    "movielens-20m": Dataset(
        "movielens-20m",
        f"{PUBLISHER}/ml-20m.zip",
        ratings=20_000_263,
        users=138_493,
        items=26_744,
        rating_levels=HALF_STARS,
        layout=CSV,
        folder="ml-20m",
        terms=TERMS.format(REDISTRIBUTION_ALLOWED, f"{PUBLISHER}/ml-20m-README.html"),
        archive_md5="cd245b17a1ae2cc31bb14903e1204af3",
    ),
    "movielens-25m": Dataset(
        "movielens-25m",
        f"{PUBLISHER}/ml-25m.zip",
        ratings=25_000_095,
        users=162_541,
        items=59_047,
        rating_levels=HALF_STARS,
        layout=CSV,
        folder="ml-25m",
        terms=TERMS.format(REDISTRIBUTION_ALLOWED, f"{PUBLISHER}/ml-25m-README.html"),
        archive_md5="6b51fb2759a8657d3bfcbfc42b592ada",
    ),
    "movielens-32m": Dataset(
        "movielens-32m",
        f"{PUBLISHER}/ml-32m.zip",
        ratings=32_000_204,
        users=200_948,
        items=84_432,
        rating_levels=HALF_STARS,
        layout=CSV,
        folder="ml-32m",
        terms=TERMS.format(REDISTRIBUTION_ALLOWED, f"{PUBLISHER}/ml-32m-README.html"),
    ),
}
"""Data sets by name."""
