"""Persistent store: events, impressions, items, users, models, jobs and keys in SQLite or PostgreSQL.

Requires the extra `serve`.

Examples
--------
>>> from tempfile import TemporaryDirectory
>>> from cofactor.store import Event, Store
>>> with TemporaryDirectory() as folder, Store.open(f"sqlite:///{folder}/shop.db") as store:
...     store.events.append([Event("ana", "alien", 5, key="a1")])
[Receipt(seq=1, duplicate=False)]
"""

from importlib.util import find_spec

from cofactor.errors import MissingExtraError

if missing_packages := [name for name in ("sqlalchemy", "alembic") if find_spec(name) is None]:
    raise MissingExtraError(
        f'the store needs {missing_packages[0]}, which is not installed: pip install "cofactor[serve]"'
    )

from cofactor.store.bulk_import import ImportResult
from cofactor.store.erasure import Erasure, Tombstone
from cofactor.store.event import Event, EventKind, Receipt, StoredEvent
from cofactor.store.event_log import EventLog
from cofactor.store.impressions import Impression, Impressions
from cofactor.store.items import Item, Items, StoredItem
from cofactor.store.jobs import Job, Jobs, JobState
from cofactor.store.keys import Key, Keys, Role
from cofactor.store.models import Models, ModelStatus, StoredModel
from cofactor.store.settings import Settings
from cofactor.store.snapshot import CurrentValue
from cofactor.store.store import Store
from cofactor.store.users import StoredUser, Users

__all__ = [
    "CurrentValue",
    "Erasure",
    "Event",
    "EventKind",
    "EventLog",
    "ImportResult",
    "Impression",
    "Impressions",
    "Item",
    "Items",
    "Job",
    "JobState",
    "Jobs",
    "Key",
    "Keys",
    "ModelStatus",
    "Models",
    "Receipt",
    "Role",
    "Settings",
    "Store",
    "StoredEvent",
    "StoredItem",
    "StoredModel",
    "StoredUser",
    "Tombstone",
    "Users",
]
