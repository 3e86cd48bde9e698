"""`cofactor key`: create or revoke an API key of a service, also after all other keys were lost."""

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
    role: Annotated[str, Option(metavar="|".join(ROLES), parser=choice(*ROLES), help="What the key permits.")] = "read",
    label: Annotated[
        str, Option(metavar="TEXT", help="Owner of the key, shown in the list of keys.")
    ] = "made on the command line",
    revoke: Annotated[str | None, Option(metavar="ID", help="Revoke this key instead of creating one.")] = None,
    data: Data = "cofactor-data",
    db: Db = None,
) -> None:
    """Create an API key and print it. The key works immediately, and its secret is not shown again.

    Needs access to the folder of the service or to its database. Over the API, an admin key can create, list and
    revoke keys.
    """
    from cofactor.service.training.worker import store_url
    from cofactor.store import Role, Store

    if db is None and not (Path(data) / "store.db").is_file():
        serve = command("serve", "RATINGS", "--data", as_path(data))
        raise StoreError(f"{data} does not contain a service: create one with `{serve}`")
    with Store.open(store_url(data, db)) as store:
        if revoke is not None:
            store.keys.revoke(revoke.partition(".")[0])
        else:
            results().print(store.keys.create(cast("Role", role), label), soft_wrap=True)
