"""`cofactor backup` and `cofactor restore`: a service copied while it runs, and made anew from the copy."""

from __future__ import annotations

from typing import Annotated

from typer import Argument, Option

from cofactor.cli.doctor import Data, Db
from cofactor.cli.terminal import note, printable, results

__all__ = ["backup", "restore"]


def backup(
    target: Annotated[str, Argument(metavar="FOLDER", help="A new folder for the backup.")],
    *,
    data: Data = "cofactor-data",
    db: Db = None,
) -> None:
    """Copy a service into a new folder, while it is used: its store, the models that answer, who was forgotten.

    A store in PostgreSQL is copied by pg_dump; its models and tombstones are copied here.
    """
    from cofactor.service.backup import back_up

    made = back_up(data, target, db)
    held = f"models {', '.join(map(str, made.models))}" if made.models else "no model"
    results().print(
        f"{printable(made.folder)} holds the store up to change {made.watermark:,} and {held}", soft_wrap=True
    )
    if not made.store:
        note('the store is in PostgreSQL: pg_dump --format=custom --file=store.dump "URL" copies it')


def restore(
    source: Annotated[str, Argument(metavar="BACKUP", help="A folder that `cofactor backup` made.")],
    *,
    data: Data = "cofactor-data",
    tombstones: Annotated[
        str | None,
        Option(metavar="FILE", help="The newest tombstones.json: who was forgotten since is forgotten again."),
    ] = None,
) -> None:
    """Make a service's folder from a backup, where there is none yet.

    Whoever was forgotten after the backup was made has to be forgotten again: name the newest tombstones.json there is,
    of a later backup or of the service that was lost.
    """
    from cofactor.service.backup import restore as put_back

    made = put_back(source, data, tombstones)
    held = f"models {', '.join(map(str, made.models))}" if made.models else "no model"
    told = f"{printable(data)} is at change {made.watermark:,}, with {held}; {made.forgotten:,} users stay forgotten"
    results().print(told, soft_wrap=True)
    if tombstones is None:
        note("who was forgotten after this backup was made is known again, unless --tombstones names a newer file")
