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


def estimators_page() -> str:
    return (ROOT / "docs" / "estimators.md").read_text(encoding="utf-8")


def test_every_estimator_has_its_section_and_every_setting_named_there_is_its_own() -> None:
    sections = dict(re.findall(r"^### (\w+)\n(.*?)(?=^##)", estimators_page(), flags=re.DOTALL | re.MULTILINE))
    assert set(sections) == {kind.__name__ for kind in REGISTRY.values()}
    others = {"neural", "l2"}  # an extra, and what weight_decay is not
    for kind in REGISTRY.values():
        text = sections[kind.__name__]
        assert re.search(r"^    \S", text, flags=re.MULTILINE), f"{kind.__name__} has no equation"
        for part in ("Assumes", "Cost:", "Source"):
            assert part in text, (kind, part)
        named = set(re.findall(r"`([a-z_0-9]+)(?:=\w+)?`", text))
        assert named <= {spec.name for spec in fields(kind)} | others, kind


def test_every_setting_named_anywhere_on_the_page_exists() -> None:
    settings = {spec.name for kind in REGISTRY.values() for spec in fields(kind)}
    named = set(re.findall(r"`([a-z_0-9]+)(?:=[^`]+)?`", estimators_page()))
    assert named <= settings | {"fit", "neural"}


def test_the_tables_of_the_page_hold_every_estimator() -> None:
    tables = estimators_page().partition("<!-- tables -->")[2].partition("<!-- end of tables -->")[0]
    rows = set(re.findall(r"^\| (\w+) \| 0\.\d{4} ", tables, flags=re.MULTILINE))
    assert rows == {kind.__name__ for kind in REGISTRY.values()}


def test_the_readme_leads_to_the_page() -> None:
    assert "(docs/estimators.md)" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_python_of_the_page_on_audits_runs() -> None:
    page = (ROOT / "docs" / "inside.md").read_text(encoding="utf-8")
    found: dict[str, object] = {}
    for block in re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL):
        exec(compile(block, "docs/inside.md", "exec"), found)
    assert {"rec", "groups", "tastes"} <= set(found)


def test_links_of_the_docs_lead_somewhere() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
            assert target.startswith("http") or (page.parent / target).exists(), (page, target)
