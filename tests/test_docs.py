"""What the README shows is true: its Python runs and prints what stands there."""

from __future__ import annotations

import doctest
import re
from dataclasses import fields
from pathlib import Path

import pytest

from cofactor.estimators import REGISTRY

ROOT = Path(__file__).parent.parent


def blocks(language: str) -> list[str]:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def test_the_python_of_the_readme_runs_and_prints_what_stands_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    examples = "\n".join(blocks("pycon"))
    assert examples.count(">>>") > 5
    test = doctest.DocTestParser().get_doctest(examples, {}, "README.md", "README.md", 0)
    report: list[str] = []
    result = doctest.DocTestRunner(optionflags=flags).run(test, out=report.append)
    assert result.failed == 0, "".join(report)


def test_every_estimator_has_its_section_and_every_setting_named_there_exists() -> None:
    page = (ROOT / "docs" / "estimators.md").read_text(encoding="utf-8")
    sections = dict(re.findall(r"^### (\w+)\n(.*?)(?=^##)", page, flags=re.DOTALL | re.MULTILINE))
    assert set(sections) == {kind.__name__ for kind in REGISTRY.values()}
    settings = {spec.name for kind in REGISTRY.values() for spec in fields(kind)}
    for kind in REGISTRY.values():
        text = sections[kind.__name__]
        assert "Assumes" in text
        assert "Cost:" in text or not list(fields(kind))
        named = re.findall(r"`([a-z_0-9]+)(?:=\w+)?`", text)
        assert set(named) <= settings | {"neural"}, kind
    assert "| BayesianMF | 0.88" in page  # the tables were made
