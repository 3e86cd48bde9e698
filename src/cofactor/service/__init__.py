"""Live service: serve recommendations over HTTP that reflect new events immediately (extra `serve`).

Layers, from files to HTTP: `registry` (model artifacts), `change_feed` (changes since a model was trained),
`loaded_model` (a model in memory), `engine` (answers from the active model), `api` (HTTP). `training` trains new models
in a separate process.
"""

from importlib.util import find_spec

from cofactor.errors import MissingExtraError

_REQUIRED_PACKAGES = ("sqlalchemy", "alembic", "fastapi", "uvicorn", "pydantic_settings", "prometheus_client")

if missing_packages := [name for name in _REQUIRED_PACKAGES if find_spec(name) is None]:
    raise MissingExtraError(
        f'the service needs {missing_packages[0]}, which is not installed: pip install "cofactor[serve]"'
    )
