"""The live service: from a table of ratings to a recommender that learns as people rate (extra `serve`).

Its parts, from the disk to the wire: `artifacts` (models as files), `changes` (what happened since a model learnt),
`serving` (one model, ready to answer), `engine` (the model that answers now), `api` (HTTP).
"""

from importlib.util import find_spec

from cofactor.errors import MissingExtraError

_NEEDS = ("sqlalchemy", "alembic", "fastapi", "uvicorn", "pydantic_settings", "prometheus_client")

if missing := [name for name in _NEEDS if find_spec(name) is None]:
    raise MissingExtraError(f'the service needs {missing[0]}, which is not installed: pip install "cofactor[serve]"')
