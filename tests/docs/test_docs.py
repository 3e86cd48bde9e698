"""README and documentation: examples, tables, links and the functions that the architecture page names.

The pages of docs/ are run once, by `make docs`, which compares the numbers in their sentences with docs/numbers.json.
"""

from __future__ import annotations

import ast
import doctest
import json
import re
from dataclasses import fields
from pathlib import Path

import pytest

import cofactor
from cofactor.data.interactions import Interactions
from cofactor.estimators import REGISTRY
from cofactor.interpret import FactorMap
from cofactor.metrics.registry import METRICS
from cofactor.plots import factor_map_png
from docs import pages

ROOT = Path(__file__).parents[2]
PAGES = pages.programs()


def blocks(language: str) -> list[str]:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def test_the_python_examples_of_the_readme_print_what_it_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
    others = {"neural", "l2"}  # an extra; a penalty that weight_decay is compared with
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


def test_comparisons_of_the_readme_are_rows_of_the_results() -> None:
    results = (ROOT / "benchmarks" / "RESULTS.md").read_text(encoding="utf-8")
    table = (ROOT / "README.md").read_text(encoding="utf-8").partition("| work | cofactor |")[2].partition("\n\n")[0]
    rows = table.splitlines()[2:]
    assert len(rows) > 5
    for row in rows:
        assert row.rstrip(" |") in results, row


def test_the_picture_of_the_readme_is_that_of_its_code(tmp_path: Path, movielens: Interactions) -> None:
    from matplotlib.image import imread

    rec = cofactor.Recommender.fit(cofactor.BiasedMF(factors=50), movielens, seed=0)
    factor_map_png(FactorMap.of(rec, min_support=50).items, tmp_path / "tastes.png")
    drawn, stored = imread(tmp_path / "tastes.png"), imread(ROOT / "docs" / "_static" / "tastes.png")
    assert drawn.shape == stored.shape
    assert abs(drawn - stored).mean() < 0.02  # other versions of matplotlib draw letters slightly differently


def test_the_readme_names_every_estimator_and_links_to_their_page() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "(docs/estimators.md)" in text
    rows = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \| (ratings|events|either) \|", text, re.MULTILINE)
    kinds = {name: kind for names, kind in rows for name in re.findall(r"\w+", names)}
    assert kinds == {cls.__name__: "either" if cls.kind == "any" else cls.kind for cls in REGISTRY.values()}


def test_the_glossary_has_every_metric() -> None:
    text = (ROOT / "docs" / "words.md").read_text(encoding="utf-8")
    for metric in METRICS.values():
        assert re.search(rf"^{re.escape(metric.label)}\b", text, re.MULTILINE | re.IGNORECASE), metric.label


def test_the_pages_that_are_run_are_those_that_are_recorded() -> None:
    recorded = json.loads((ROOT / "docs" / "numbers.json").read_text(encoding="utf-8"))
    assert sorted(recorded) == [page.relative_to(ROOT / "docs").as_posix() for page in PAGES]


def test_the_tutorial_answers_every_question_in_order_each_with_code_that_runs() -> None:
    text = (ROOT / "docs" / "from-zero.md").read_text(encoding="utf-8")
    answers = re.split(r"^## ", text, flags=re.MULTILINE)[1:]
    numbered = [re.match(r"(\d+)\. ", answer) for answer in answers]
    assert [int(number[1]) for number in numbered if number] == list(range(1, 32))
    assert all("```{code-cell}" in answer for answer, number in zip(answers, numbered, strict=True) if number)


@pytest.mark.parametrize(
    ("first", "second", "same"),
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
def test_numbers_agree_within_a_twentieth_or_a_last_digit(first: str, second: str, same: bool) -> None:
    assert pages.alike(first, second, 0.05) is same


def test_times_may_differ_by_the_machine() -> None:
    assert pages.alike("12 ms", "100 ms", pages.tolerance('f"{product_seconds:.0f} ms"'))
    assert not pages.alike("12 ms", "200 ms", pages.tolerance('f"{product_seconds:.0f} ms"'))
    assert pages.tolerance('f"{rmse:.3f}"') == 0.05


def test_links_of_the_docs_have_targets() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
            assert target.startswith("http") or (page.parent / target).exists(), (page, target)


STOP = re.compile(r"`([\w/]+\.py):(\w+)(?:\.(\w+))?`")
"""A file below src/cofactor with a function or class, or with a method: `data/ids.py:IdMap.rows`."""


def architecture_page() -> str:
    return (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def definitions(body: list[ast.stmt]) -> dict[str, ast.stmt]:
    return {node.name: node for node in body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)}


@pytest.mark.parametrize("stop", sorted(set(STOP.findall(architecture_page()))), ids=":".join)
def test_functions_named_on_the_architecture_page_exist(stop: tuple[str, str, str]) -> None:
    file, name, method = stop
    path = ROOT / "src" / "cofactor" / file
    assert path.exists(), f"{file} does not exist"
    definition = definitions(ast.parse(path.read_text(encoding="utf-8")).body).get(name)
    assert definition is not None, f"{file} does not define {name}"
    if method:
        assert isinstance(definition, ast.ClassDef)
        assert method in definitions(definition.body), f"{name} in {file} does not define {method}"


def test_each_walk_of_the_architecture_page_names_its_validation_and_its_translation_of_ids() -> None:
    walks = architecture_page().split("\n## ")[1:]
    assert len(walks) == 3
    for walk in walks:
        assert len(STOP.findall(walk)) >= 8
        assert walk.count("**validates**") == 1
        assert len(re.findall(r"\*\*translates( the IDs)?\*\*", walk)) == 1
