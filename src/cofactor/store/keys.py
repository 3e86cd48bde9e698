"""Keys to the service: shown once, kept as hashes, compared in constant time."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

from sqlalchemy import Connection, insert, select, update

from cofactor.data.ids import is_unicode
from cofactor.errors import ParameterError, StoreError
from cofactor.store.connect import Database, now
from cofactor.store.schema import keys
from cofactor.store.validation import checked_text
from cofactor.store.writer import Writer

__all__ = ["Key", "Keys", "Role"]

Role: TypeAlias = Literal["read", "write", "admin"]
_NOBODY = "0" * 64


@dataclass(frozen=True)
class Key:
    """A key without its secret: id, role (read, write, admin), label, and when it was made and revoked.

    >>> Key("1f2e3d4c5b6a7988", "write", "the shop's server", created=1_700_000_000).revoked is None
    True
    """

    id: str
    role: Role
    label: str
    created: int
    revoked: int | None = None


class Keys:
    """Who may do what.

    A key is `id.secret`, the secret 256 random bits. Its SHA-256 is kept: a random secret needs no slow hash.

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
        """A new key, `id.secret`: shown now and never again. Raises ParameterError for another role, DataError."""
        if role not in get_args(Role):
            raise ParameterError(f"the role is one of {', '.join(get_args(Role))}, not {role!r}")
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
        """The key that this is, or None: unknown, wrong, revoked, or no key at all. The work is the same for each."""
        given = text if isinstance(text, str) and is_unicode(text) and "\0" not in text else ""
        name, _, secret = given.partition(".")
        with self._database.reading() as connection:
            found = connection.execute(_KEYS.where(keys.c.id == name)).one_or_none()
        same = hmac.compare_digest(_hash(secret), _NOBODY if found is None else found.hash)
        return _key(found) if found is not None and same and found.revoked is None else None

    def revoke(self, key: str) -> None:
        """This key, by its id, opens nothing any more. Raises StoreError where there is none."""
        this = update(keys).where(keys.c.id == checked_text(key, "the key's id", 200))
        revoked = this.values(revoked=now())

        def do(connection: Connection) -> None:
            if connection.execute(select(keys.c.id).where(keys.c.id == key)).one_or_none() is None:
                raise StoreError("there is no key of this id")
            connection.execute(revoked.where(keys.c.revoked.is_(None)))

        self._writer.run(do)

    def all(self) -> list[Key]:
        """Every key, oldest first; never a secret."""
        with self._database.reading() as connection:
            return [_key(row) for row in connection.execute(_KEYS.order_by(keys.c.created, keys.c.id))]


_KEYS = select(keys)


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _key(row: Any) -> Key:
    return Key(row.id, row.role, row.label, row.created, row.revoked)
