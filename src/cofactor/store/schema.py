"""Database schema at the newest revision, in SQLAlchemy Core, for SQLite and PostgreSQL.

Every change that readers follow (an event, an item, user metadata, an erasure) takes the next number from a single
sequence, `seq`. Numbers become visible in order and are never reused, so that a reader that knows the last number needs
to query only later ones. IDs are strings; an integer is stored as its canonical decimal representation.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    Table,
    Text,
    text,
)

__all__ = [
    "events",
    "imports",
    "impressions",
    "items",
    "jobs",
    "keys",
    "metadata",
    "models",
    "settings",
    "tombstones",
    "users",
]

BIG_INTEGER = BigInteger().with_variant(Integer(), "sqlite")  # SQLite auto-increments only INTEGER keys
ID = Text().with_variant(Text(collation="C"), "postgresql")  # compare bytes, independent of the server's locale

metadata = MetaData()

events = Table(
    "events",
    metadata,
    Column("seq", BIG_INTEGER, primary_key=True, autoincrement=False),
    Column("key", ID),  # idempotency key; NULL for imported rows
    Column("kind", SmallInteger, nullable=False),  # 0 rating, 1 event, 2 removal
    Column("user", ID, nullable=False),
    Column("item", ID, nullable=False),
    Column("value", Double, nullable=False),  # 0 for a removal
    Column(
        "time", BigInteger, nullable=False
    ),  # seconds since the Unix epoch, as submitted or, if omitted, as received
    Column("received", BigInteger, nullable=False),  # never decreases with seq
    Index("events_user", "user", "seq"),
    Index(
        "events_key", "key", unique=True, sqlite_where=text("key IS NOT NULL"), postgresql_where=text("key IS NOT NULL")
    ),
)

imports = Table(
    "imports",
    metadata,
    Column("digest", ID, primary_key=True),  # hash of the kind, name and rows, so that each table is imported only once
    Column("name", Text, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("done", BigInteger, nullable=False),  # updated in the transaction that stores the rows
    Column("skipped", BigInteger, nullable=False),  # rows of erased users
    Column("started", BigInteger, nullable=False),
)

impressions = Table(
    "impressions",
    metadata,
    Column("id", BIG_INTEGER, primary_key=True, autoincrement=True),
    Column("user", ID, nullable=False),
    Column("places", Text, nullable=False),  # JSON, from top to bottom: item, slot, propensity
    Column("model", BigInteger, nullable=False),
    Column("time", BigInteger, nullable=False),
    Index("impressions_user", "user"),
    sqlite_autoincrement=True,
)

items = Table(
    "items",
    metadata,
    Column("item", ID, primary_key=True),
    Column("seq", BIG_INTEGER, nullable=False),  # of the last change
    Column("title", Text),
    Column("available", Boolean, nullable=False),
    Column("metadata", Text, nullable=False),  # JSON
    Index("items_seq", "seq"),
)

users = Table(
    "users",
    metadata,
    Column("user", ID, primary_key=True),
    Column("seq", BIG_INTEGER, nullable=False),
    Column("metadata", Text, nullable=False),
    Index("users_seq", "seq"),
)

tombstones = Table(
    "tombstones",
    metadata,
    Column("hash", ID, primary_key=True),  # salted SHA-256 of the user ID
    Column("seq", BIG_INTEGER, nullable=False),
    Column("time", BigInteger, nullable=False),
    Index("tombstones_seq", "seq"),
)

models = Table(
    "models",
    metadata,
    Column("version", BIG_INTEGER, primary_key=True, autoincrement=True),
    Column("status", Text, nullable=False),  # candidate, active, previous, held, retired
    Column("estimator", Text, nullable=False),  # JSON
    Column("file", Text),  # NULL once the artifact is pruned
    Column("sha256", Text, nullable=False),
    Column("metrics", Text, nullable=False),  # JSON
    Column("reasons", Text, nullable=False),  # JSON: reasons the model is held
    Column("watermark", BigInteger, nullable=False),  # last change in the training data
    Column("created", BigInteger, nullable=False),
    Column("changed", BigInteger, nullable=False),  # when the status last changed
    Index(
        "models_active",
        "status",
        unique=True,
        sqlite_where=text("status = 'active'"),
        postgresql_where=text("status = 'active'"),
    ),
    sqlite_autoincrement=True,
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", BIG_INTEGER, primary_key=True, autoincrement=True),
    Column("kind", Text, nullable=False),
    Column("state", Text, nullable=False),  # queued, running, done, failed
    Column("spec", Text, nullable=False),  # JSON
    Column("owner", Text),
    Column("attempts", Integer, nullable=False),
    Column("heartbeat", Double),  # from the shared clock; see `store.jobs`
    Column("progress", Double, nullable=False),  # 0..1
    Column("message", Text, nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("started", BigInteger),
    Column("finished", BigInteger),
    Index("jobs_state", "state", "id"),
    sqlite_autoincrement=True,
)

keys = Table(
    "keys",
    metadata,
    Column("id", ID, primary_key=True),
    Column("hash", Text, nullable=False),  # SHA-256 of the secret
    Column("role", Text, nullable=False),
    Column("label", Text, nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("revoked", BigInteger),
)

settings = Table(
    "settings",
    metadata,
    Column("name", ID, primary_key=True),
    Column("value", Text, nullable=False),  # JSON
)
