"""`cofactor trainer`: a separate process that trains new models for services that share a store."""

from __future__ import annotations

import logging
from typing import Annotated

from typer import Exit, Option

from cofactor.cli.options import number, whole_number
from cofactor.cli.terminal import printable, results

__all__ = ["trainer"]


def trainer(
    *,
    data: Annotated[str | None, Option(metavar="FOLDER", help="Folder of the service (./cofactor-data).")] = None,
    db: Annotated[
        str | None, Option(metavar="URL", help="Database of the service, if it is not in the folder.")
    ] = None,
    after_events: Annotated[
        int | None, Option(metavar="N", parser=whole_number, help="Train after N changes (5000).")
    ] = None,
    every: Annotated[
        float | None,
        Option(metavar="SECONDS", parser=number(low=1), help="Train at this interval if anything changed (3600)."),
    ] = None,
    config: Annotated[str | None, Option(metavar="FILE", help="TOML file with settings of the service.")] = None,
    once: Annotated[bool, Option("--once", help="Process the queued jobs and exit.")] = False,
) -> None:
    """Train new models on schedule or on request, and promote those that are at least as good as the active model.

    `cofactor serve` starts a trainer itself. Several trainers may run: each job is processed by one of them. SIGTERM
    shuts a trainer down cleanly. The trainer reads the settings of `cofactor serve` from environment variables and a
    TOML file: when to train, and how much worse a new model may be.
    """
    from cofactor.service.settings import ServiceSettings
    from cofactor.service.training.worker import train_forever, train_waiting

    options = {"data": data, "db": db, "train_after": after_events, "train_every": every}
    settings = ServiceSettings.of(options, config)
    if not once:
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", force=True)
        train_forever(settings.data, settings.db, due=settings.due, guard=settings.guard)
        return
    jobs = train_waiting(settings.data, settings.db, guard=settings.guard)
    for job in jobs:
        results().print(f"job {job.id} is {job.state}: {printable(job.message)}", soft_wrap=True)
    if not jobs:
        results().print("no jobs are queued")
    if any(job.state == "failed" for job in jobs):
        raise Exit(1)
