"""Schema revision v001: the tables of the first release."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "v001"
down_revision = None

BIG_INTEGER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
ID = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Create the tables of the first release."""
    _create_event_tables()
    _create_catalog_tables()
    _create_service_tables()


def _create_event_tables() -> None:
    op.create_table(
        "events",
        sa.Column("seq", BIG_INTEGER, primary_key=True, autoincrement=False),
        sa.Column("key", ID),
        sa.Column("kind", sa.SmallInteger, nullable=False),
        sa.Column("user", ID, nullable=False),
        sa.Column("item", ID, nullable=False),
        sa.Column("value", sa.Double, nullable=False),
        sa.Column("time", sa.BigInteger, nullable=False),
        sa.Column("received", sa.BigInteger, nullable=False),
    )
    op.create_index("events_user", "events", ["user", "seq"])
    has_key = sa.text("key IS NOT NULL")
    op.create_index("events_key", "events", ["key"], unique=True, sqlite_where=has_key, postgresql_where=has_key)
    op.create_table(
        "imports",
        sa.Column("digest", ID, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("rows", sa.BigInteger, nullable=False),
        sa.Column("done", sa.BigInteger, nullable=False),
        sa.Column("skipped", sa.BigInteger, nullable=False),
        sa.Column("started", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "impressions",
        sa.Column("id", BIG_INTEGER, primary_key=True, autoincrement=True),
        sa.Column("user", ID, nullable=False),
        sa.Column("places", sa.Text, nullable=False),
        sa.Column("model", sa.BigInteger, nullable=False),
        sa.Column("time", sa.BigInteger, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("impressions_user", "impressions", ["user"])


def _create_catalog_tables() -> None:
    op.create_table(
        "items",
        sa.Column("item", ID, primary_key=True),
        sa.Column("seq", BIG_INTEGER, nullable=False),
        sa.Column("title", sa.Text),
        sa.Column("available", sa.Boolean, nullable=False),
        sa.Column("metadata", sa.Text, nullable=False),
    )
    op.create_index("items_seq", "items", ["seq"])
    op.create_table(
        "users",
        sa.Column("user", ID, primary_key=True),
        sa.Column("seq", BIG_INTEGER, nullable=False),
        sa.Column("metadata", sa.Text, nullable=False),
    )
    op.create_index("users_seq", "users", ["seq"])
    op.create_table(
        "tombstones",
        sa.Column("hash", ID, primary_key=True),
        sa.Column("seq", BIG_INTEGER, nullable=False),
        sa.Column("time", sa.BigInteger, nullable=False),
    )
    op.create_index("tombstones_seq", "tombstones", ["seq"])


def _create_service_tables() -> None:
    op.create_table(
        "models",
        sa.Column("version", BIG_INTEGER, primary_key=True, autoincrement=True),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("estimator", sa.Text, nullable=False),
        sa.Column("file", sa.Text),
        sa.Column("sha256", sa.Text, nullable=False),
        sa.Column("metrics", sa.Text, nullable=False),
        sa.Column("reasons", sa.Text, nullable=False),
        sa.Column("watermark", sa.BigInteger, nullable=False),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("changed", sa.BigInteger, nullable=False),
        sqlite_autoincrement=True,
    )
    active = sa.text("status = 'active'")
    op.create_index("models_active", "models", ["status"], unique=True, sqlite_where=active, postgresql_where=active)
    op.create_table(
        "jobs",
        sa.Column("id", BIG_INTEGER, primary_key=True, autoincrement=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("spec", sa.Text, nullable=False),
        sa.Column("owner", sa.Text),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("heartbeat", sa.Double),
        sa.Column("progress", sa.Double, nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("started", sa.BigInteger),
        sa.Column("finished", sa.BigInteger),
        sqlite_autoincrement=True,
    )
    op.create_index("jobs_state", "jobs", ["state", "id"])
    op.create_table(
        "keys",
        sa.Column("id", ID, primary_key=True),
        sa.Column("hash", sa.Text, nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("label", sa.Text, nullable=False),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("revoked", sa.BigInteger),
    )
    op.create_table("settings", sa.Column("name", ID, primary_key=True), sa.Column("value", sa.Text, nullable=False))
