"""`cofactor trainer`: the process that learns new models, run by itself, beside services that share a store."""

from __future__ import annotations

import logging
from typing import Annotated

from typer import Exit, Option

from cofactor.cli.doctor import Data, Db
from cofactor.cli.screen import printable, results

__all__ = ["trainer"]


def trainer(
    *,
    data: Data = "cofactor-data",
    db: Db = None,
    after_events: Annotated[int, Option(metavar="N", help="Train after so many changes.", min=1)] = 5_000,
    every: Annotated[float, Option(metavar="SECONDS", help="Train so often, where anything changed.", min=1)] = 3_600.0,
    once: Annotated[bool, Option("--once", help="Work on the jobs that wait, and end.")] = False,
) -> None:
    """Learn new models when it is due or asked for; each is promoted only if it holds its own against the active one.

    `cofactor serve` runs one by itself. Several may run: each training has one. SIGTERM ends it in good order.
    """
    from cofactor.service.retraining import Due
    from cofactor.service.trainer_process import train_forever, train_waiting

    if not once:
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
        train_forever(data, db, due=Due(after_events, every))
        return
    jobs = train_waiting(data, db)
    for job in jobs:
        results().print(f"job {job.id} is {job.state}: {printable(job.message)}", soft_wrap=True)
    if not jobs:
        results().print("no job waits")
    if any(job.state == "failed" for job in jobs):
        raise Exit(1)
