"""`cofactor backup` and `cofactor restore`: back up a running service and restore it from a backup."""

from __future__ import annotations

from typing import Annotated

from typer import Argument, Option

from cofactor.cli.doctor import Data, Db
from cofactor.cli.terminal import note, printable, results

__all__ = ["backup", "restore"]


def backup(
    target: Annotated[str, Argument(metavar="FOLDER", help="New folder for the backup.")],
    *,
    data: Data = "cofactor-data",
    db: Db = None,
) -> None:
    """Back up a running service to a new folder: the store, the models in use and the tombstones of erased users.

    Of a store in PostgreSQL, only the models and tombstones are copied; back up the database with pg_dump.
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
        Option(metavar="FILE", help="The newest tombstones.json, to erase again users who were erased since."),
    ] = None,
) -> None:
    """Restore the folder of a service from a backup. The folder must not contain a service yet.

    Users who were erased after the backup must be erased again: pass the newest tombstones.json, from a later backup
    or from the lost service.
    """
    from cofactor.service.backup import restore as restore_backup

    restored = restore_backup(source, data, tombstones)
    models = f"models {', '.join(map(str, restored.models))}" if restored.models else "no model"
    results().print(
        f"{printable(data)} is at change {restored.watermark:,}, with {models}; "
        f"{restored.forgotten:,} users stay erased",
        soft_wrap=True,
    )
    if tombstones is None:
        note("users erased after this backup are in the store again: pass a newer tombstones.json with --tombstones")
