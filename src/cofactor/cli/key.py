"""`cofactor key`: a key to a service, also where every other one was lost or revoked."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, cast

from typer import Option

from cofactor.cli.doctor import Data, Db
from cofactor.cli.options import choice
from cofactor.cli.terminal import results
from cofactor.errors import StoreError
from cofactor.shell import as_path, command

__all__ = ["key"]

ROLES = ("read", "write", "admin")


def key(
    *,
    role: Annotated[str, Option(metavar="|".join(ROLES), parser=choice(*ROLES), help="What it may do.")] = "read",
    label: Annotated[str, Option(metavar="TEXT", help="Whose it is; listed with it.")] = "made on the command line",
    revoke: Annotated[str | None, Option(metavar="ID", help="Make none: let this one open nothing any more.")] = None,
    data: Data = "cofactor-data",
    db: Db = None,
) -> None:
    """Make a key to a service, and print it: it is shown this once, and opens everything of its role at once.

    For who may read the service's folder, or knows its database. Over the API, an admin key makes, lists and revokes.
    """
    from cofactor.service.training.worker import store_url
    from cofactor.store import Role, Store

    if db is None and not (Path(data) / "store.db").is_file():
        raise StoreError(f"{data} holds no service: `{command('serve', 'RATINGS', '--data', as_path(data))}` makes one")
    with Store.open(store_url(data, db)) as store:
        if revoke is not None:
            store.keys.revoke(revoke.partition(".")[0])
        else:
            results().print(store.keys.create(cast("Role", role), label), soft_wrap=True)
