"""`cofactor trainer`: the process that learns new models, run by itself, beside services that share a store."""

from __future__ import annotations

import logging
from typing import Annotated

from typer import Exit, Option

from cofactor.cli.options import number, whole_number
from cofactor.cli.terminal import printable, results

__all__ = ["trainer"]


def trainer(
    *,
    data: Annotated[str | None, Option(metavar="FOLDER", help="The folder of the service (./cofactor-data).")] = None,
    db: Annotated[str | None, Option(metavar="URL", help="Its database, where that is not in the folder.")] = None,
    after_events: Annotated[
        int | None, Option(metavar="N", parser=whole_number, help="Train after so many changes (5000).")
    ] = None,
    every: Annotated[
        float | None,
        Option(metavar="SECONDS", parser=number(low=1), help="Train so often, where anything changed (3600)."),
    ] = None,
    config: Annotated[str | None, Option(metavar="FILE", help="A TOML file of the service's settings.")] = None,
    once: Annotated[bool, Option("--once", help="Work on the jobs that wait, and end.")] = False,
) -> None:
    """Learn new models when it is due or asked for; each is promoted only if it holds its own against the active one.

    `cofactor serve` runs one by itself. Several may run: each training has one. SIGTERM ends it in good order. It reads
    the settings of `cofactor serve`, from variables and a TOML file: when to train, and what a new model may lose.
    """
    from cofactor.service.settings import ServiceSettings
    from cofactor.service.training.worker import train_forever, train_waiting

    told = {"data": data, "db": db, "train_after": after_events, "train_every": every}
    chosen = ServiceSettings.of(told, config)
    if not once:
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", force=True)
        train_forever(chosen.data, chosen.db, due=chosen.due, guard=chosen.guard)
        return
    jobs = train_waiting(chosen.data, chosen.db, guard=chosen.guard)
    for job in jobs:
        results().print(f"job {job.id} is {job.state}: {printable(job.message)}", soft_wrap=True)
    if not jobs:
        results().print("no job waits")
    if any(job.state == "failed" for job in jobs):
        raise Exit(1)
