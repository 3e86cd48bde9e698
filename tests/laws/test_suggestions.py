"""Suggestions in messages: every command, option and name of Python that a message proposes works.

The suggestions are not listed here. They are taken from what commands print in many situations, and from the strings
in the source; a test fails where a string of the source suggests a command that no situation has printed.
"""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import typer.main

import cofactor
from cofactor.cli import app
from tests.support.command_line import run

SOURCE = Path(cofactor.__file__).parent
COMMANDS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
READS_TABLE = [name for name, command in COMMANDS.items() if any(p.name == "ratings" for p in command.params)]
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
SUGGESTED = re.compile(r"`(cofactor [a-z][^`]*)`|(?:^|: )(cofactor [a-z]+ .*)$|^  (cofactor [a-z].*)$", re.MULTILINE)
MENTIONED = re.compile(rf"\bcofactor (?:{'|'.join(COMMANDS)})\b")
PLACEHOLDERS = {"RATINGS": "ratings.csv", "MODEL": "my.cofactor", "COMMAND": "fit", "NAME=VALUE": "factors=4"}

RATINGS = "user,item,rating,time\n" + "".join(
    f"{u},{i},{(k * j) % 5 + 1},{1_000_000 + 1000 * k + j}\n"
    for k, u in enumerate(["ana", *(str(n) for n in range(1, 12))], start=1)
    for j, i in enumerate(["alien", *(f"f{n}" for n in range(1, 12))], start=1)
    if (k + j) % 4
)
ODD = "$(touch pwned) '\"[x].csv"
COLUMNS = ["--user", "who is it?", "--item", "$what", "--value", "how much"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with tables, also under an odd name and with odd columns, models and an empty service."""
    home = tmp_path_factory.mktemp("suggestions")
    (home / "ratings.csv").write_text(RATINGS)
    (home / "films.csv").write_text("item,title\nalien,Alien\nf1,One\n")
    (home / "clicks.csv").write_text("user,item\n" + "".join(f"u{u},i{i}\n" for u in range(9) for i in range(u + 1)))
    (home / ODD).write_text(RATINGS.replace("user,item,rating", "who is it?,$what,how much"))
    (home / "ids.csv").write_text(RATINGS.replace("ana", "$(touch pwned)").replace("\n1,", "\n-1,"))
    (home / "bad.csv").write_text(RATINGS + "ana,alien,nan,1\n")
    (home / "levels.csv").write_text(RATINGS.replace(",5,", ",7,"))
    (home / "empty.csv").write_text("user,item,rating\n")
    for model, command in {
        "my.cofactor": "fit ratings.csv -m biased-mf --set factors=2",
        "events.cofactor": "fit clicks.csv -m popularity --events",
        "-$(touch pwned)": "fit ratings.csv -m biased-mf --set factors=2",
    }.items():  # fmt: skip
        assert invoked([*command.split(), "-o", model], home).exit_code == 0
    return home


def invoked(arguments: list[str], folder: Path, text: str | None = None) -> Any:
    before = Path.cwd()
    os.chdir(folder)
    try:
        return run(*arguments, text=text, COLUMNS="1000")
    finally:
        os.chdir(before)


@dataclass(frozen=True)
class Printed:
    command: str
    text: str


SITUATIONS: list[tuple[list[str], str | None]] = [
    # commands that work
    (["fit", ODD, "-o", "-$(touch pwned).cofactor", "-m", "biased-mf", *COLUMNS], None),
    (["fit", "ids.csv", "-o", "ids.cofactor", "-m", "biased-mf", "--set", "factors=2"], None),
    (["tune", ODD, *COLUMNS, "--rating-levels", "1,2,3,4,5", "--trials", "3", "--set", "factors=3", "--set", "epochs=2",
      "--seed", "3"], None),
    (["tune", "ratings.csv", "-m", "item-knn", "--min-rating", "4", "--gain", "0.1", "--trials", "2"], None),
    (["tune", "clicks.csv", "-m", "ease", "--events", "--trials", "2", "--on-error", "quarantine"], None),
    (["fetch", "movielens-100k"], None),
    (["models"], None),
    (["models", "implicit-als"], None),
    (["models", "bayesian-mf"], None),
    (["onboard", "-$(touch pwned)", "--questions", "3"], "5\n\n2\n"),
    (["demo", "-o", "demo $(touch pwned).cofactor"], None),
    # models and data sets that do not exist, tables of the other kind
    (["fit", "ratings.csv", "-o", "x", "-m", "svd"], None),
    (["describe", "movielens"], None),
    (["fetch"], None),
    (["fetch", "nothing"], None),
    *(([name, "ratings.csv", "-m", "implicit-als", *(["-o", "x"] if name == "fit" else [])], None)
      for name in ("fit", "evaluate", "tune", "report", "serve")),
    (["compare", "ratings.csv", "--task", "ranking"], None),
    (["compare", "clicks.csv", "--events", "--task", "rating"], None),
    (["fit", "clicks.csv", "-o", "x", "-m", "biased-mf", "--events"], None),
    (["fit", "ratings.csv", "-o", "x", "-m", "biased-mf", "--min-rating", "4"], None),
    (["fit", "ratings.csv", "-o", "x", "--min-rating", "9", "-m", "ease"], None),
    # bad rows, columns and options of tables
    *(([name, "bad.csv", *(["-o", "x"] if name == "fit" else [])], None) for name in READS_TABLE if name != "serve"),
    (["describe", "levels.csv", "--rating-levels", "1,2,3,4,5"], None),
    (["describe", "empty.csv"], None),
    (["describe", "clicks.csv"], None),
    (["describe", "ratings.csv", "--user", "nobody"], None),
    (["describe", "ratings.csv", "--query", "select 1"], None),
    (["describe", "sqlite:///x.db"], None),
    (["describe", "movielens-100k", "--events"], None),
    (["describe", "movielens-100k", "--user", "u"], None),
    (["describe", "ratings.csv", "--events", "--min-rating", "4"], None),
    (["describe", "ratings.csv", "--gain", "1"], None),
    (["describe", "ratings.csv", "--item-id", "x"], None),
    (["describe", "ratings.csv", "--user-id", "x"], None),
    (["describe", "ratings.csv", "--events", "--rating-levels", "1,2"], None),
    (["describe", "ratings.csv", "--events"], None),
    (["describe", "ratings.csv", "--items", "clicks.csv"], None),
    (["describe", "ratings.csv", "--items", "films.csv", "--item-id", "id"], None),
    (["describe", "ratings.csv", "--quarantine", "q.csv"], None),
    (["evaluate", "ratings.csv", "--split", "per-user", "--test", "0.01"], None),
    (["evaluate", "ratings.csv", "--split", "users", "--test", "0.01"], None),
    (["evaluate", "clicks.csv", "--events", "--split", "by-time"], None),
    (["evaluate", "ratings.csv", "--exclude", "seen"], None),
    (["evaluate", "ratings.csv", "--plot", "x.html"], None),
    (["evaluate", "ratings.csv", "-m", "bias", "-m", "item-knn"], None),
    (["evaluate", "ratings.csv", "--min-rating", "4", "--calibration"], None),
    (["evaluate", "ratings.csv", "-m", "bayesian-mf", "-m", "neural-mf", "--calibration", "--plot", "x.html"], None),
    (["fit", "ratings.csv", "-o", "x", "-m", "biased-mf", "--set", "bias.damping=1"], None),
    (["fit", "ratings.csv", "-o", "x", "-m", "biased-mf", "--set", "factors"], None),
    (["fit", "ratings.csv", "-o", "x", "-m", "biased-mf", "--item-features", "year"], None),
    (["fit", "ratings.csv", "-o", "x", "-m", "bias", "--user-features", "age"], None),
    # models in use
    (["recommend", "my.cofactor"], None),
    (["recommend", "my.cofactor", "--user", "nobody"], None),
    (["recommend", "events.cofactor", "--user", "nobody"], None),
    (["recommend", "my.cofactor", "--item", "alien"], None),
    (["recommend", "events.cofactor", "--rated", "i1=5"], None),
    (["recommend", "events.cofactor", "--item", "i1"], None),
    (["recommend", "my.cofactor", "--rated", "alien"], None),
    (["recommend", "my.cofactor", "--rated", "alien=9"], None),
    (["recommend", "my.cofactor", "--rated", "alien=5", "--include-seen"], None),
    (["recommend", "my.cofactor", "--rated", "alien=5", "--user-features", "age"], None),
    (["recommend", "my.cofactor", "--rated", "alien=5", "--user-features", "age=5"], None),
    (["recommend", "my.cofactor", "--all", "-n", "99"], None),
    (["recommend", "my.cofactor", "--all", "-o", "x.xls"], None),
    (["recommend", "my.cofactor", "--user", "ana", "--rank-by", "lower"], None),
    (["predict", "my.cofactor"], None),
    (["predict", "my.cofactor", "--pairs", "ratings.csv"], None),
    (["predict", "my.cofactor", "--pairs", "ratings.csv", "--time-column", "time"], None),
    (["predict", "my.cofactor", "--pairs", ODD], None),
    (["explain", "my.cofactor", "nobody", "alien"], None),
    (["explain", "events.cofactor", "u1", "i1"], None),
    (["similar", "my.cofactor"], None),
    (["similar", "events.cofactor", "--item", "i1"], None),
    (["onboard", "events.cofactor"], None),
    # services
    (["key", "--data", "no $(touch pwned)"], None),
    (["key", "--data", "service", "--revoke", "nothing"], None),
    (["doctor", "--json", "--data", "no $(touch pwned)"], None),
    (["doctor", "--json", "--data", "hollow $(touch pwned)"], None),
    (["doctor", "--json", "--data", "store"], None),
    (["trainer", "--once", "--data", "nowhere"], None),
    (["backup", "x", "--data", "nowhere"], None),
    (["restore", "nowhere", "--data", "x"], None),
    (["serve", "--data", "store"], None),
    (["serve", "--data", "locked $(touch pwned)", "--host", "0.0.0.0", "--port", "0"], None),
    *(([name, "--help"], None) for name in COMMANDS),
    (["--help"], None),
]  # fmt: skip


@pytest.fixture(scope="module")
def printed(folder: Path) -> list[Printed]:
    """What every situation prints, on stdout and stderr."""
    _services(folder)
    outputs = []
    for arguments, text in SITUATIONS:
        result = invoked(arguments, folder, text)
        assert result.exception is None or isinstance(result.exception, SystemExit), (arguments, result.exception)
        out = json.loads(result.stdout) if "--json" in arguments else None
        lines = result.stdout if out is None else "\n".join(check["message"] for check in out["checks"])
        text = re.sub(r"Usage: cofactor .*|Try 'cofactor .*", "", f"{lines}\n{result.stderr}")
        outputs.append(Printed(arguments[0], text))
    return outputs


def _services(folder: Path) -> None:
    """A folder without a store, a store without a model, and a service whose keys are all revoked."""
    from cofactor.store import Store

    (folder / "hollow $(touch pwned)").mkdir(mode=0o700)
    for name, keys in (("store", 0), ("locked $(touch pwned)", 1)):
        (folder / name).mkdir(mode=0o700)
        with Store.open(f"sqlite:///{folder / name / 'store.db'}") as store:
            for _ in range(keys):
                store.keys.revoke(store.keys.create("admin", "lost").partition(".")[0])


def suggestions(printed: list[Printed]) -> dict[str, str]:
    """Every suggested command, and the command that printed it."""
    sources: dict[str, str] = {}
    for output in printed:
        for match in SUGGESTED.finditer(output.text):
            line = next(group for group in match.groups() if group)
            sources.setdefault(line, output.command)
    return sources


@pytest.mark.long
def test_every_mention_of_a_command_is_extracted(printed: list[Printed]) -> None:
    for output in printed:
        rest = SUGGESTED.sub("", output.text)
        rest = re.sub(r"Usage: cofactor .*|\bcofactor (?:fit|--)[^\n]*(?=│)", "", rest)
        assert not MENTIONED.search(rest), (output.command, MENTIONED.search(rest))


@pytest.mark.long
def test_suggested_commands_run_in_a_shell(printed: list[Printed], folder: Path) -> None:
    lines = [line for line in suggestions(printed) if " " in line.strip()]
    assert len(lines) > 20
    for line in lines:
        arguments = _shell_arguments(line, folder)
        complete = [_replaced(argument) for argument in arguments]
        command = complete[0]
        assert command in COMMANDS, line
        if len(complete) == 1:  # a name in the middle of a sentence
            continue
        if command == "serve":  # it would run until it is stopped
            COMMANDS["serve"].make_context("serve", complete[1:])
            continue
        result = invoked(complete, folder)
        assert result.exit_code == 0, (line, complete, result.stderr)
    assert not list(folder.rglob("pwned"))


def _shell_arguments(line: str, folder: Path) -> list[str]:
    """The arguments that a shell passes to a command, without `cofactor`."""
    script = f"cofactor() {{ printf '%s\\0' \"$@\"; }}; {line}"
    done = subprocess.run(["sh", "-c", script], cwd=folder, capture_output=True, check=True, timeout=10)
    return os.fsdecode(done.stdout).split("\0")[:-1]


def _replaced(argument: str) -> str:
    return PLACEHOLDERS.get(argument, argument)


@pytest.mark.long
def test_suggested_options_exist_where_they_are_suggested(printed: list[Printed]) -> None:
    seen = set()
    for output in printed:
        if output.command.startswith("--"):
            continue
        rest = SUGGESTED.sub("", re.sub(r"pg_dump .*", "", output.text))
        options = _options(COMMANDS[output.command]) | {"--help"}
        for option in OPTION.findall(rest):
            seen.add(option)
            assert option in options, (output.command, option, output.text)
    assert len(seen) > 40


# strings of the source


@cache
def _trees() -> dict[Path, ast.Module]:
    return {path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(SOURCE.rglob("*.py"))}


def _strings(tree: ast.Module) -> Iterator[str]:
    """Every string of a module but docstrings; the values in an f-string are {}."""
    skipped = set()
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        for part in body if isinstance(body, list) else []:
            if isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant):
                skipped.add(part.value)
        if isinstance(node, ast.JoinedStr):
            skipped.update(part for part in node.values if isinstance(part, ast.Constant))
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in skipped:
            yield node.value


def _help(path: Path) -> Iterator[str]:
    """The docstrings of a module of commands that are help texts."""
    if path.parent.name == "cli":
        for node in ast.walk(_trees()[path]):
            if isinstance(node, ast.FunctionDef) and node.name in COMMANDS and (text := ast.get_docstring(node)):
                yield text


def _prose() -> list[tuple[Path, str]]:
    """Strings with spaces, which a user may read."""
    texts = [(path, text) for path, tree in _trees().items() for text in (*_strings(tree), *_help(path))]
    return [
        (path, text) for path, text in texts if re.search(r"\w \w", text) and not re.search(r"[{;]\s*--|@media", text)
    ]


@pytest.mark.long
def test_every_suggestion_of_the_source_was_printed(printed: list[Printed]) -> None:
    all_output = " ".join(" ".join(output.text.split()) for output in printed)
    plain = re.sub(r"[│╭╮╰╯─\s]+", " ", all_output)
    for path, text in _prose():
        for match in re.finditer(rf"{MENTIONED.pattern}|`cofactor [^`]*`", text):
            mention = " ".join(match[0].replace("{}", "\0").split())
            pattern = ".*?".join(map(re.escape, mention.split("\0")))
            assert re.search(pattern, plain), (path.name, text)


def test_options_in_the_source_exist() -> None:
    everywhere = {name for command in COMMANDS.values() for name in _options(command)} | {"--help", "--version"}
    foreign = {"--upgrade", "--format", "--file", "--no-deps", "--only-binary", "--dbname"}
    seen = set()
    for path, text in _prose():
        own = path.parent.name == "cli" and path.stem in COMMANDS and path.stem != "backup"  # it holds restore, too
        options = _options(COMMANDS[path.stem]) if own else everywhere
        for option in OPTION.findall(re.sub(r"\bcofactor [a-z]+ .*", "", text) if own else text):
            seen.add(option)
            assert option in options | foreign | {"--help"}, (path.name, text)
    assert len(seen) > 25


def _options(command: Any) -> set[str]:
    return {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}


def test_extras_to_install_exist() -> None:
    project = tomllib.loads((SOURCE.parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = set()
    for path, tree in _trees().items():
        for text in (*_strings(tree), *_help(path)):
            for install in re.findall(r"pip install (?:--upgrade )?(\S+)", text):
                match = re.fullmatch(r"\"cofactor\[([a-z]+)\]\"[.,;)]*|cofactor", install)
                assert match, (path.name, text)
                named.add(match[1])
    assert named - {None} <= set(project["optional-dependencies"])
    assert {"sql", "serve", "client", "tune", "neural", "report"} <= named


# names of Python


@cache
def _defined() -> dict[str, list[ast.FunctionDef | ast.ClassDef | None]]:
    """Public functions, methods, classes, fields and parameters of the package by name."""
    definitions: dict[str, list[ast.FunctionDef | ast.ClassDef | None]] = {}
    for tree in _trees().values():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                definitions.setdefault(node.name, []).append(node)
            elif isinstance(node, ast.arg):
                definitions.setdefault(node.arg, []).append(None)
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                definitions.setdefault(node.target.id, []).append(None)
    return definitions


def test_dotted_names_in_messages_can_be_imported() -> None:
    seen = set()
    for _, text in _prose():
        for name in re.findall(
            r"(?<![\w./])cofactor(?:\.[A-Za-z_]\w*)+", re.sub(r"\S+@\S+|sqlite:\S+|https?:\S+", "", text)
        ):
            if name.split(".")[1] in ("db", "dump", "service", "trainer", "requests", "store"):  # files and loggers
                continue
            value: Any = cofactor
            for part in name.split(".")[1:]:
                value = getattr(value, part, None) or import_module(f"{value.__name__}.{part}")
            seen.add(name)
    assert {"cofactor.read_ratings", "cofactor.Interactions.from_columns", "cofactor.split_random"} <= seen


def test_calls_in_messages_match_the_signatures() -> None:
    seen = set()
    for path, text in _prose():
        for name, inside in re.findall(r"\b([a-z]+(?:_[a-z]+)+|[A-Z][A-Za-z]+)\(([a-z_]+=[^()]*)\)", text):
            if "{}" in name or name not in _defined():
                assert not re.search(rf"\.{name}\(", text), (path.name, text)
                continue
            keywords = set(re.findall(r"([a-z_]+)=", inside))
            taken = [_parameters(node) for node in _defined()[name] if node is not None]
            assert any(keywords <= names for names in taken), (path.name, text)
            seen.add(name)
    assert "to_events" in seen


def _parameters(node: ast.FunctionDef | ast.ClassDef) -> set[str]:
    if isinstance(node, ast.FunctionDef):
        return {argument.arg for argument in (*node.args.args, *node.args.kwonlyargs)}
    return {
        part.target.id for part in node.body if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name)
    }


def test_names_with_underscores_in_messages_exist() -> None:
    """A renamed function or parameter leaves no message with the old name."""
    foreign = {
        "journal_mode",
        "user_id",
        "item_id",
        "movie_title",
        "item_name",
        "product_name",
        "train_loss",
        "valid_loss",
        "u_data",
    }
    for path, text in _prose():
        if re.search(r"SELECT|CREATE |PRAGMA|pragma|SET |SHOW |VACUUM|pg_|INSERT|import sys", text):
            continue
        for name in re.findall(r"(?<![\w./{}-])[a-z]+(?:_[a-z0-9]+)+(?![\w/])", text):
            assert name in _defined() or name in foreign, (path.relative_to(SOURCE), name, text)
