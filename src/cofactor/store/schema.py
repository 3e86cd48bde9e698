"""The tables, as they are at the newest revision: SQLAlchemy Core, the same on SQLite and PostgreSQL.

Every change that a reader may have to hear of (an event, an item, a user's facts, a forgetting) takes the next number
of one sequence, `seq`: numbers become visible in their order, are never given twice, and whoever knows the number of
the last change needs only ask for what came after it. Ids are text, as given; an integer is its canonical decimal.
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

NUMBER = BigInteger().with_variant(Integer(), "sqlite")  # only an INTEGER can be SQLite's own row number
ID = Text().with_variant(Text(collation="C"), "postgresql")  # bytes are compared, whatever the server's language

metadata = MetaData()

events = Table(
    "events",
    metadata,
    Column("seq", NUMBER, primary_key=True, autoincrement=False),
    Column("key", ID),  # the idempotency key; none for imported rows
    Column("kind", SmallInteger, nullable=False),  # 0 rating, 1 event, 2 removal
    Column("user", ID, nullable=False),
    Column("item", ID, nullable=False),
    Column("value", Double, nullable=False),  # 0 for a removal
    Column("time", BigInteger, nullable=False),  # whole seconds since 1970, as told, else when it came
    Column("received", BigInteger, nullable=False),  # never less than that of an earlier event
    Index("events_user", "user", "seq"),
    Index(
        "events_key", "key", unique=True, sqlite_where=text("key IS NOT NULL"), postgresql_where=text("key IS NOT NULL")
    ),
)

imports = Table(
    "imports",
    metadata,
    Column("digest", ID, primary_key=True),  # of the name and all content: the same table is never loaded twice
    Column("name", Text, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("done", BigInteger, nullable=False),  # moves in the transaction that stores the rows
    Column("skipped", BigInteger, nullable=False),  # rows of forgotten users
    Column("started", BigInteger, nullable=False),
)

impressions = Table(
    "impressions",
    metadata,
    Column("id", NUMBER, primary_key=True, autoincrement=True),
    Column("user", ID, nullable=False),
    Column("places", Text, nullable=False),  # JSON, from the top: item, slot, propensity
    Column("model", BigInteger, nullable=False),
    Column("time", BigInteger, nullable=False),
    Index("impressions_user", "user"),
    sqlite_autoincrement=True,
)

items = Table(
    "items",
    metadata,
    Column("item", ID, primary_key=True),
    Column("seq", NUMBER, nullable=False),  # of the last change
    Column("title", Text),
    Column("available", Boolean, nullable=False),
    Column("metadata", Text, nullable=False),  # JSON
    Index("items_seq", "seq"),
)

users = Table(
    "users",
    metadata,
    Column("user", ID, primary_key=True),
    Column("seq", NUMBER, nullable=False),
    Column("metadata", Text, nullable=False),
    Index("users_seq", "seq"),
)

tombstones = Table(
    "tombstones",
    metadata,
    Column("hash", ID, primary_key=True),  # salted SHA-256 of the user's id
    Column("seq", NUMBER, nullable=False),
    Column("time", BigInteger, nullable=False),
    Index("tombstones_seq", "seq"),
)

models = Table(
    "models",
    metadata,
    Column("version", NUMBER, primary_key=True, autoincrement=True),
    Column("status", Text, nullable=False),  # candidate, active, previous, held, retired
    Column("estimator", Text, nullable=False),  # JSON
    Column("file", Text),  # none once it is pruned
    Column("sha256", Text, nullable=False),
    Column("metrics", Text, nullable=False),  # JSON
    Column("reasons", Text, nullable=False),  # JSON: why it is held
    Column("watermark", BigInteger, nullable=False),  # the last change it learnt from
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
    Column("id", NUMBER, primary_key=True, autoincrement=True),
    Column("kind", Text, nullable=False),
    Column("state", Text, nullable=False),  # queued, running, done, failed
    Column("spec", Text, nullable=False),  # JSON
    Column("owner", Text),
    Column("attempts", Integer, nullable=False),
    Column("heartbeat", Double),  # of the database's clock, see `jobs`
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
