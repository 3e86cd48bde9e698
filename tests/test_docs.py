"""The README's Python runs and prints what stands there; pages, tables and links are whole.

The pages of docs/ are run once, by `make docs`, which compares the numbers in their sentences with docs/numbers.json.
"""

from __future__ import annotations

import doctest
import importlib.util
import json
import re
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

import cofactor
from cofactor.data.interactions import Interactions
from cofactor.estimators import REGISTRY
from cofactor.interpret import FactorMap
from cofactor.plots import factor_map_png

ROOT = Path(__file__).parent.parent


def module_of_the_docs(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(f"docs_{name}", ROOT / "docs" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


pages = module_of_the_docs("pages")
links = module_of_the_docs("links")
PAGES = pages.programs()


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
    assert named <= settings | {"fit", "neural", "evaluate", "compare", "exclude"}


def test_the_tables_of_the_page_hold_every_estimator() -> None:
    tables = estimators_page().partition("<!-- tables -->")[2].partition("<!-- end of tables -->")[0]
    rows = set(re.findall(r"^\| (\w+) \| 0\.\d{4} ", tables, flags=re.MULTILINE))
    assert rows == {kind.__name__ for kind in REGISTRY.values()}


def test_what_the_readme_says_of_peers_stands_in_the_results() -> None:
    results = (ROOT / "benchmarks" / "RESULTS.md").read_text(encoding="utf-8")
    table = (ROOT / "README.md").read_text(encoding="utf-8").partition("| work | cofactor |")[2].partition("\n\n")[0]
    rows = table.splitlines()[2:]
    assert len(rows) > 5
    for row in rows:
        assert row.rstrip(" |") in results, row


def test_the_picture_of_the_readme_is_what_its_code_draws(tmp_path: Path, movielens: Interactions) -> None:
    from matplotlib.image import imread

    rec = cofactor.Recommender.fit(cofactor.BiasedMF(factors=50), movielens, seed=0)
    factor_map_png(FactorMap.of(rec, min_support=50).items, tmp_path / "tastes.png")
    drawn, kept = imread(tmp_path / "tastes.png"), imread(ROOT / "docs" / "_static" / "tastes.png")
    assert drawn.shape == kept.shape
    assert abs(drawn - kept).mean() < 0.02  # another matplotlib draws letters a little otherwise


def test_the_readme_leads_to_the_page() -> None:
    assert "(docs/estimators.md)" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_pages_that_are_run_are_those_that_are_recorded() -> None:
    recorded = json.loads((ROOT / "docs" / "numbers.json").read_text(encoding="utf-8"))
    assert sorted(recorded) == [page.relative_to(ROOT / "docs").as_posix() for page in PAGES]


def test_the_tutorial_answers_every_question_in_order_each_with_code_that_runs() -> None:
    text = (ROOT / "docs" / "from-zero.md").read_text(encoding="utf-8")
    answers = re.split(r"^## ", text, flags=re.MULTILINE)[1:]
    numbered = [re.match(r"(\d+)\. ", answer) for answer in answers]
    assert [int(found[1]) for found in numbered if found] == list(range(1, 32))
    assert all("```{code-cell}" in answer for answer, found in zip(answers, numbered, strict=True) if found)


def test_the_check_of_the_site_finds_what_it_is_for(tmp_path: Path) -> None:
    (tmp_path / "other.html").write_text('<p id="here">text</p>', encoding="utf-8")
    (tmp_path / "site.css").write_text("@import url(https://fonts.example/a.css);", encoding="utf-8")
    (tmp_path / "page.html").write_text(
        '<a href="other.html#here">1</a><a href="other.html#gone">2</a><a href="gone.html">3</a>'
        '<a href="https://example.org">4</a><script src="https://example.org/x.js"></script><img src="other.html">',
        encoding="utf-8",
    )
    assert links.problems(tmp_path) == [
        "page.html: other.html#gone has no such place",
        "page.html: gone.html leads nowhere",
        "page.html fetches https://example.org/x.js",
        "page.html: other.html has no words for those who do not see it",
        "site.css fetches https://fonts.example/a.css",
    ]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("0.911", "0.912", True),
        ("0.911", "0.991", False),
        ("1,586,126", "1,590,000", True),
        ("3 of 8 films", "4 of 8 films", True),  # a last digit
        ("30 films", "40 films", False),
        ("12 films", "12 users", False),
        ("-.5", "-.5", True),
    ],
)
def test_numbers_are_alike_within_a_twentieth_or_a_last_digit(one: str, other: str, same: bool) -> None:
    assert pages.alike(one, other, 0.05) is same


def test_times_may_differ_by_the_machine() -> None:
    assert pages.alike("12 ms", "100 ms", pages.tolerance('f"{product_seconds:.0f} ms"'))
    assert not pages.alike("12 ms", "200 ms", pages.tolerance('f"{product_seconds:.0f} ms"'))
    assert pages.tolerance('f"{rmse:.3f}"') == 0.05


def test_links_of_the_docs_lead_somewhere() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
            assert target.startswith("http") or (page.parent / target).exists(), (page, target)
