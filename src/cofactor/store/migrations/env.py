"""Alembic environment: run the migrations on the connection passed by `cofactor.store.migrations.upgrade`."""

from __future__ import annotations

from alembic import context

if __name__ == "env_py":  # the name under which Alembic loads this file
    context.configure(**context.config.attributes)
    context.run_migrations()
