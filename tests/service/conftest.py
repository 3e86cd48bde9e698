"""A service with a model of two hundred users, in this process."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

import cofactor
from cofactor.data.interactions import Interactions
from cofactor.datasets.synthetic import SyntheticConfig, generate
from cofactor.service.api.app import create_app
from cofactor.service.api.dependencies import Service
from cofactor.service.bootstrap import import_table
from cofactor.service.registry import ArtifactRegistry
from cofactor.service.settings import ServiceSettings
from cofactor.service.training.spec import TrainingSpec
from cofactor.service.training.trainer import Trainer
from cofactor.store import Role, Store

SPEC = TrainingSpec(cofactor.ExplicitALS(factors=4))


@pytest.fixture(scope="session")
def ratings() -> Interactions:
    return generate(SyntheticConfig(n_users=200, n_items=60, n_ratings=4_000)).interactions


@pytest.fixture
def settings(tmp_path: Path) -> ServiceSettings:
    return ServiceSettings.of({"data": str(tmp_path), "key_cache_seconds": 0.0, "max_body": 100_000, "poll": 0.1})


@pytest.fixture(scope="session")
def trained_folder(ratings: Interactions, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a service with one model. Tests use copies of it, because training is slow."""
    settings = ServiceSettings.of({"data": str(tmp_path_factory.mktemp("trained"))})
    with Store.open(settings.url) as opened:
        import_table(opened, ratings)
        Trainer(opened, ArtifactRegistry(settings.artifacts), spec=SPEC).train()
    return Path(settings.data)


@pytest.fixture
def first(settings: ServiceSettings, trained_folder: Path) -> int:
    """The version of the model that answers."""
    shutil.copytree(trained_folder, settings.data, dirs_exist_ok=True)
    return 1


@pytest.fixture
def store(settings: ServiceSettings, request: pytest.FixtureRequest) -> Iterator[Store]:
    """Another process's view of the service's store, which has a first model if the test uses `first`."""
    if "first" in request.fixturenames:  # the files are copied before the store is opened
        request.getfixturevalue("first")
    with Store.open(settings.url) as opened:
        yield opened


@pytest.fixture
def artifacts(settings: ServiceSettings) -> ArtifactRegistry:
    return ArtifactRegistry(settings.artifacts)


@pytest.fixture
def client(settings: ServiceSettings, first: int) -> Iterator[TestClient]:
    with TestClient(create_app(settings), raise_server_exceptions=False) as opened:
        yield opened


@pytest.fixture
def service(client: TestClient) -> Service:
    app_service: Service = client.app.state.service  # type: ignore[attr-defined]
    return app_service


@pytest.fixture
def key(store: Store) -> Callable[[Role], dict[str, str]]:
    """The headers of a new key."""
    return lambda role: {"Authorization": f"Bearer {store.keys.create(role, 'a test')}"}


@pytest.fixture
def admin(client: TestClient, key: Callable[[Role], dict[str, str]]) -> TestClient:
    client.headers.update(key("admin"))
    return client
