"""API keys: store them as hashes and verify them in constant time."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

from sqlalchemy import Connection, insert, select, update

from cofactor.data.id_columns import is_unicode
from cofactor.errors import ParameterError, StoreError
from cofactor.store.connect import Database, now
from cofactor.store.schema import keys
from cofactor.store.validation import checked_text
from cofactor.store.writer import Writer

__all__ = ["Key", "Keys", "Role"]

Role: TypeAlias = Literal["read", "write", "admin"]
_DUMMY_HASH = "0" * 64  # used for unknown IDs, so that timing does not reveal which IDs exist


@dataclass(frozen=True)
class Key:
    """API key without its secret.

    Attributes
    ----------
    id : str
        ID of the key.
    role : {'read', 'write', 'admin'}
        Role of the key, which determines what it permits.
    label : str
        Description of the key's owner.
    created : int
        Time of creation, in seconds since the Unix epoch.
    revoked : int or None, default None
        Time of revocation, in seconds since the Unix epoch; None if the key is not revoked.

    Examples
    --------
    >>> Key("1f2e3d4c5b6a7988", "write", "the shop's server", created=1_700_000_000).revoked is None
    True
    """

    id: str
    role: Role
    label: str
    created: int
    revoked: int | None = None


class Keys:
    """API keys of the store.

    A key has the form `id.secret`, with a secret of 256 random bits. Only the SHA-256 of the secret is stored; random
    secrets do not require a slow hash.

    Parameters
    ----------
    database : Database
        The database of the store.
    writer : Writer
        Queue for write transactions.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from cofactor.store import Store
    >>> with TemporaryDirectory() as folder, Store.open(f"sqlite:///{folder}/shop.db") as store:
    ...     text = store.keys.create("write", "the shop's server")
    ...     key = store.keys.check(text)
    ...     wrong = store.keys.check(text[:-1])
    ...     store.keys.revoke(key.id)
    ...     key.role, wrong, store.keys.check(text)
    ('write', None, None)
    """

    def __init__(self, database: Database, writer: Writer):
        self._database = database
        self._writer = writer

    def create(self, role: Role, label: str) -> str:
        """Create an API key and return it.

        Parameters
        ----------
        role : {'read', 'write', 'admin'}
            Role of the key, which determines what it permits.
        label : str
            Description of the key's owner, up to 200 characters.

        Returns
        -------
        str
            The key, `id.secret`; the secret cannot be retrieved later.

        Raises
        ------
        ParameterError
            If the role is unknown.
        DataError
            If the label is invalid.
        """
        if role not in get_args(Role):
            raise ParameterError(f"role must be one of {', '.join(get_args(Role))}, not {role!r}")
        name, secret = secrets.token_hex(8), secrets.token_urlsafe(32)
        row = {
            "id": name,
            "hash": _hash(secret),
            "role": role,
            "label": checked_text(label, "the label", 200),
            "created": now(),
        }
        self._writer.run(lambda connection: connection.execute(insert(keys).values(row)).close())
        return f"{name}.{secret}"

    def check(self, text: str) -> Key | None:
        """Look up an API key and verify its secret in constant time.

        Parameters
        ----------
        text : str
            The key, `id.secret`.

        Returns
        -------
        Key or None
            The key; None if it is unknown, incorrect, revoked or malformed.
        """
        secret_text = text if isinstance(text, str) and is_unicode(text) and "\0" not in text else ""
        name, _, secret = secret_text.partition(".")
        with self._database.read_transaction() as connection:
            row = connection.execute(_KEY_QUERY.where(keys.c.id == name)).one_or_none()
        is_same = hmac.compare_digest(_hash(secret), _DUMMY_HASH if row is None else row.hash)
        return _key(row) if row is not None and is_same and row.revoked is None else None

    def revoke(self, key: str) -> None:
        """Revoke an API key.

        Parameters
        ----------
        key : str
            ID of the key.

        Raises
        ------
        StoreError
            If there is no key with this ID.
        """
        statement = update(keys).where(keys.c.id == checked_text(key, "the key's id", 200), keys.c.revoked.is_(None))
        statement = statement.values(revoked=now())

        def mark_revoked(connection: Connection) -> None:
            if connection.execute(select(keys.c.id).where(keys.c.id == key)).one_or_none() is None:
                raise StoreError("there is no key with this ID")
            connection.execute(statement)

        self._writer.run(mark_revoked)

    def all(self) -> list[Key]:
        """Return all API keys without their secrets.

        Returns
        -------
        list of Key
            The keys, oldest first; empty if there are none.
        """
        with self._database.read_transaction() as connection:
            return [_key(row) for row in connection.execute(_KEY_QUERY.order_by(keys.c.created, keys.c.id))]


_KEY_QUERY = select(keys)


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _key(row: Any) -> Key:
    return Key(row.id, row.role, row.label, row.created, row.revoked)
