"""`cofactor plan`: memory, disk and time of a fit to a table of a given size, and size and rate of its service."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated

from typer import BadParameter, Option

from cofactor.cli.options import Json, Settings, number, whole_number
from cofactor.cli.terminal import messages, note, results, show_json, table

if TYPE_CHECKING:
    from cofactor.capacity import CapacityPlan

__all__ = ["plan", "quantity", "storage_size"]

QUANTITIES = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9}
SIZES = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
BINARY_SIZES = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def quantity(text: str | int) -> int:
    """Parse a number of users, items or events, such as 10M, 1B, 2.5k or 1_000_000.

    Parameters
    ----------
    text : str or int
        Value of the option.

    Returns
    -------
    int
        Parsed number.

    Raises
    ------
    BadParameter
        If the text is not a positive whole number with an optional suffix k, M or B.

    Examples
    --------
    >>> quantity("10M"), quantity("2.5k"), quantity("1_000_000")
    (10000000, 2500, 1000000)
    """
    match = re.fullmatch(r"([0-9][0-9_,]*(?:\.[0-9]+)?)\s*([KMB]?)", str(text).strip().upper())
    value = None if match is None else _product(match[1], QUANTITIES[match[2]])
    if value is None:
        raise BadParameter(f"must be a positive whole number such as 10M, 1B, 2.5k or 1_000_000, not {str(text)!r}")
    return value


def storage_size(text: str | int) -> int:
    """Parse a size in bytes, such as 64GB, 1.5T, 512MiB or 1000000.

    Parameters
    ----------
    text : str or int
        Value of the option.

    Returns
    -------
    int
        Number of bytes.

    Raises
    ------
    BadParameter
        If the text is not a positive number with an optional unit.

    Examples
    --------
    >>> storage_size("64GB"), storage_size("1.5k"), storage_size("2GiB")
    (64000000000, 1500, 2147483648)
    """
    match = re.fullmatch(r"([0-9][0-9_,]*(?:\.[0-9]+)?)\s*([KMGT]?)(I?)B?", str(text).strip().upper())
    units = BINARY_SIZES if match is not None and match[3] else SIZES
    value = None if match is None or match[2] not in units else _product(match[1], units[match[2]])
    if value is None:
        raise BadParameter(f"must be a size such as 64GB, 1.5TB or 512MiB, not {str(text)!r}")
    return value


def _product(digits: str, unit: int) -> int | None:
    """Return a decimal number times a unit; None if the product is not a positive whole number."""
    whole, _, decimals = digits.replace(",", "").replace("_", "").partition(".")
    value, remainder = divmod(int(whole + decimals) * unit, 10 ** len(decimals))
    return value if value > 0 and not remainder else None


def plan(
    *,
    users: Annotated[int, Option(metavar="N", parser=quantity, help="Number of users, such as 10M.")],
    items: Annotated[int, Option(metavar="N", parser=quantity, help="Number of items, such as 1M.")],
    events: Annotated[int, Option(metavar="N", parser=quantity, help="Number of events or ratings, such as 1B.")],
    model: Annotated[
        str, Option("--model", "-m", metavar="NAME", help="implicit-als, explicit-als, biased-mf or bpr.")
    ] = "implicit-als",
    factors: Annotated[
        int | None, Option(metavar="N", parser=whole_number, help="Number of factors; that of the model by default.")
    ] = None,
    settings: Settings = None,
    item_skew: Annotated[
        float | None,
        Option(
            metavar="SKEW",
            parser=number(low=1),
            help="Mean number of events of the item of a random event, divided by that of a random item; typical for "
            "the density by default.",
        ),
    ] = None,
    times: Annotated[bool, Option("--times", help="The table has times.")] = False,
    cores: Annotated[
        int | None, Option(metavar="N", parser=whole_number, help="Cores of another machine; those of this by default.")
    ] = None,
    memory: Annotated[
        int | None, Option(metavar="SIZE", parser=storage_size, help="Memory of another machine, such as 64GB.")
    ] = None,
    disk: Annotated[
        int | None, Option(metavar="SIZE", parser=storage_size, help="Free disk space of another machine, such as 1TB.")
    ] = None,
    relative_speed: Annotated[
        float,
        Option(
            metavar="FACTOR", parser=number(low=0.01, high=100), help="Speed of a core of another machine; 1 is this."
        ),
    ] = 1.0,
    max_hours: Annotated[
        float, Option(metavar="HOURS", parser=number(low=0.001), help="Longest acceptable time of a fit.")
    ] = 24.0,
    as_json: Json = False,
) -> None:
    """Plan a fit and its service for a table of a given size: memory, disk, seconds, and whether Spark is needed.

    A few seconds of measuring on this machine give the speed of its cores and the memory of a fit. For another machine,
    give its cores, its memory and its disk, and the speed of its cores relative to this machine.
    """
    from cofactor.capacity import plan as capacity_plan
    from cofactor.cli.estimator_options import estimator_of

    chosen = [*(settings or []), *([] if factors is None else [f"factors={factors}"])]
    estimator = estimator_of(model, chosen)
    with messages().status("measuring", spinner="dots"):
        result = capacity_plan(
            estimator, users=users, items=items, events=events, item_skew=item_skew, times=times,
            cores=cores, memory=memory, disk=disk, relative_speed=relative_speed, max_hours=max_hours,
        )  # fmt: skip
    if as_json:
        show_json(result.as_dict())
        return
    if model == "bpr" and item_skew is None:
        note("the time of bpr depends on the skew of the items, which --item-skew states; without it, it is estimated")
    _show(result)


def _show(result: CapacityPlan) -> None:
    """Print a plan."""
    out = results()
    out.print(f"{result.model}, {result.factors} factors: {result.events:,} events, {result.users:,} users,")
    out.print(f"{result.items:,} items")
    out.print(
        f"machine: {result.cores} cores, {_bytes(result.machine_memory)} of memory, "
        f"{_bytes(result.machine_disk)} of free disk space"
    )
    lines = table("need", ("value", "right"))
    for name, value in (
        ("disk: table file", _bytes(result.table_bytes)),
        ("disk during the import", _bytes(result.import_bytes)),
        ("memory of a fit", _bytes(result.fit_memory)),
        ("mapped columns that each pass reads", _bytes(result.mapped_bytes)),
        ("time of a pass", _seconds(result.seconds_per_pass)),
        ("time of a fit", _seconds(result.fit_seconds)),
        ("disk: model file", _bytes(result.model_bytes)),
        ("memory of the service", _bytes(result.serving_memory)),
        ("lists of ten items per second", f"{result.requests_per_second:,.0f}"),
    ):
        lines.add_row(name, value)
    out.print(lines)
    if result.reads_disk:
        note("each pass reads the mapped columns from the disk, because memory does not hold them too; it takes longer")
    out.print(result.advice)


def _bytes(size: int) -> str:
    """Return a size with a unit."""
    return f"{size / 1e9:,.1f} GB" if size >= 10**9 else f"{size / 1e6:,.1f} MB"


def _seconds(seconds: float) -> str:
    """Return a time with a unit."""
    if seconds >= 7200:
        return f"{seconds / 3600:,.1f} h"
    return f"{seconds / 60:,.1f} min" if seconds >= 120 else f"{seconds:.3g} s"
