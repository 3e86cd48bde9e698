"""Commands for operating a service: `cofactor trainer`, `doctor`, `backup`, `restore` and `key`."""

from __future__ import annotations

import logging
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, TypeAlias, cast

from typer import Argument, Exit, Option

from cofactor.cli.options import Json, choice, number, whole_number
from cofactor.cli.terminal import note, printable, results, show_json, table
from cofactor.errors import StoreError
from cofactor.shell import as_path, command

__all__ = ["Data", "Db", "backup", "doctor", "key", "restore", "trainer"]

ROLES = ("read", "write", "admin")

Data: TypeAlias = Annotated[
    str, Option(metavar="FOLDER", envvar="COFACTOR_SERVE_DATA", help="Data folder of the service.")
]
Db: TypeAlias = Annotated[
    str | None,
    Option(
        metavar="URL",
        envvar="COFACTOR_SERVE_DB",
        help="Database URL of the service, if it is not in the folder: postgresql://user@host/name.",
    ),
]


def trainer(
    *,
    data: Annotated[str | None, Option(metavar="FOLDER", help="Data folder of the service (./cofactor-data).")] = None,
    db: Annotated[
        str | None, Option(metavar="URL", help="Database URL of the service, if it is not in the folder.")
    ] = None,
    after_events: Annotated[
        int | None, Option(metavar="N", parser=whole_number, help="Train after this many changes (5000).")
    ] = None,
    every: Annotated[
        float | None,
        Option(metavar="SECONDS", parser=number(low=1), help="Train at this interval if anything changed (3600)."),
    ] = None,
    config: Annotated[str | None, Option(metavar="FILE", help="TOML file with the settings of the service.")] = None,
    once: Annotated[bool, Option("--once", help="Process the queued jobs and exit.")] = False,
) -> None:
    """Train new models on a schedule or on request, and promote those that are at least as good as the active model.

    `cofactor serve` starts its own trainer. Several trainers may run at the same time; each job is processed by one of
    them. SIGTERM shuts a trainer down cleanly. The trainer reads the same environment variables and TOML file as
    `cofactor serve`; they define when to train and by how much a new model may be worse.
    """
    from cofactor.service.settings import ServiceSettings
    from cofactor.service.training.worker import run_queued_jobs, run_worker

    options = {"data": data, "db": db, "train_after": after_events, "train_every": every}
    settings = ServiceSettings.of(options, config)
    if not once:
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", force=True)
        run_worker(settings)
        return
    jobs = run_queued_jobs(settings)
    for job in jobs:
        results().print(f"job {job.id} is {job.state}: {printable(job.message)}", soft_wrap=True)
    if not jobs:
        results().print("no jobs are queued")
    if any(job.state == "failed" for job in jobs):
        raise Exit(1)


def doctor(*, data: Data = "cofactor-data", db: Db = None, as_json: Json = False) -> None:
    """Check the health of a service: store, model checksums, disk space, clock, jobs and erased users.

    Exits with code 1 if there is a problem, and with code 0 if there are only warnings or no findings.
    """
    from cofactor.service.doctor import check_service, worst_state

    checks = check_service(data, db)
    state = worst_state(checks)
    if as_json:
        show_json({"state": state, "checks": [asdict(check) for check in checks]})
    else:
        output_table = table("check", "state", "result")
        for check in checks:
            output_table.add_row(check.check, check.state, printable(check.message))
        results().print(output_table)
    if state == "problem":
        raise Exit(1)


def backup(
    target: Annotated[str, Argument(metavar="FOLDER", help="New folder for the backup.")],
    *,
    data: Data = "cofactor-data",
    db: Db = None,
) -> None:
    """Back up a running service to a new folder: the store, the models in use and the tombstones of erased users.

    If the store is in PostgreSQL, only models and tombstones are copied; back up the database with pg_dump.
    """
    from cofactor.service.backup import back_up

    backup = back_up(data, target, db)
    models = f"models {', '.join(map(str, backup.models))}" if backup.models else "no model"
    results().print(
        f"{printable(backup.folder)} contains the store up to change {backup.watermark:,} and {models}", soft_wrap=True
    )
    if not backup.store:
        note('the store is in PostgreSQL: back it up with pg_dump --format=custom --file=store.dump "URL"')


def restore(
    source: Annotated[str, Argument(metavar="BACKUP", help="Folder created by `cofactor backup`.")],
    *,
    data: Data = "cofactor-data",
    tombstones: Annotated[
        str | None,
        Option(metavar="FILE", help="Newest tombstones.json, to re-erase users who were erased after the backup."),
    ] = None,
) -> None:
    """Restore the data folder of a service from a backup; the folder must not contain a service yet.

    Users who were erased after the backup must be erased again: pass the newest tombstones.json, from a later backup or
    from the lost service.
    """
    from cofactor.service.backup import restore as restore_backup

    result = restore_backup(source, data, tombstones)
    models = f"models {', '.join(map(str, result.models))}" if result.models else "no model"
    results().print(
        f"{printable(data)} is at change {result.watermark:,}, with {models}; {result.erased:,} users stay erased",
        soft_wrap=True,
    )
    if tombstones is None:
        note("users erased after this backup are in the store again; pass a newer tombstones.json with --tombstones")


def key(
    *,
    role: Annotated[str, Option(metavar="|".join(ROLES), parser=choice(*ROLES), help="Role of the key.")] = "read",
    label: Annotated[
        str, Option(metavar="TEXT", help="Owner of the key, shown in the list of keys.")
    ] = "created on the command line",
    revoke: Annotated[str | None, Option(metavar="ID", help="Revoke this key instead of creating one.")] = None,
    data: Data = "cofactor-data",
    db: Db = None,
) -> None:
    """Create an API key and print it; the key works immediately, and its secret is not shown again.

    Requires access to the data folder of the service or to its database. Through the API, an admin key can create, list
    and revoke keys.
    """
    from cofactor.service.settings import store_url
    from cofactor.store import Role, Store

    if db is None and not (Path(data) / "store.db").is_file():
        serve = command("serve", "RATINGS", "--data", as_path(data))
        raise StoreError(f"{data} does not contain a service; create one with `{serve}`")
    with Store.open(store_url(data, db)) as store:
        if revoke is not None:
            store.keys.revoke(revoke.partition(".")[0])
        else:
            results().print(store.keys.create(cast("Role", role), label), soft_wrap=True)
