"""The command line in a hostile environment: closed streams, full disks, odd names, no home folder, interrupts."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.command_line import run

pytestmark = pytest.mark.long

PAIRS = [(u, i) for u in range(1, 13) for i in range(1, 9) if (u + i) % 5]
RATINGS = "user,item,rating\n" + "".join(f"u{u},f{i},{(u * i) % 5 + 1}\n" for u, i in PAIRS)
COFACTOR = f"{sys.executable} -m cofactor"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the table r.csv and the model m."""
    home = tmp_path_factory.mktemp("environment")
    (home / "r.csv").write_text(RATINGS)
    assert run("fit", home / "r.csv", "-o", home / "m", "-m", "bias").exit_code == 0
    return home


def shell(line: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a line of a shell in which `cofactor` is this installation."""
    return subprocess.run(
        ["sh", "-c", f'cofactor() {{ {COFACTOR} "$@"; }}; {line}'],
        cwd=folder, capture_output=True, text=True, check=False, timeout=120, env={**os.environ, **environment},
    )  # fmt: skip


def clean(stderr: str) -> list[str]:
    """Return the lines of stderr without notes; none of them is a traceback or reports an internal error."""
    assert "Traceback" not in stderr
    assert "this is a bug" not in stderr
    assert "Exception ignored" not in stderr
    return [line for line in stderr.splitlines() if not line.startswith("note: ")]


# standard streams


@pytest.mark.parametrize(
    ("command", "unbuffered"),
    [
        ("recommend m --all", ""), ("recommend m --user u1 --json", "1"), ("describe r.csv", ""), ("models", "1"),
        ("fit --help", ""), ("--version", "1"),
    ],
)  # fmt: skip
def test_a_full_or_closed_stdout_is_an_error(folder: Path, command: str, unbuffered: str) -> None:
    for target, reason in (("/dev/full", "No space left on device"), ("&-", "Bad file descriptor")):
        done = shell(f"cofactor {command} >{target}", folder, PYTHONUNBUFFERED=unbuffered)
        assert done.returncode == 1
        assert clean(done.stderr) == [f"error: standard output cannot be written: {reason}"]


def test_a_model_is_saved_completely_if_stdout_is_closed(folder: Path, tmp_path: Path) -> None:
    done = shell(f"cofactor fit r.csv -m bias -o {tmp_path}/x >&-", folder)
    assert done.returncode == 1
    assert run("recommend", tmp_path / "x", "--user", "u1").exit_code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


@pytest.mark.parametrize("command", ["recommend m --all --json", "describe r.csv", "fit --help"])
def test_no_message_is_printed_to_a_closed_pipe(folder: Path, command: str) -> None:
    done = shell(f"cofactor {command} | head -n 1", folder)
    assert done.stdout.count("\n") == 1
    assert clean(done.stderr) == []


@pytest.mark.parametrize("target", ["&-", "/dev/full"])
def test_messages_that_cannot_be_written_do_not_change_the_exit_code(folder: Path, target: str) -> None:
    assert shell(f"cofactor describe nope.csv 2>{target}", folder).returncode == 2
    done = shell(f"cofactor describe r.csv --json 2>{target}", folder)
    assert done.returncode == 0
    assert json.loads(done.stdout)["rows"] == len(PAIRS)
    assert shell(f"cofactor describe r.csv >&- 2>{target}", folder).returncode == 1


def test_a_closed_stdin_is_an_empty_stdin(folder: Path, tmp_path: Path) -> None:
    assert run("fit", folder / "r.csv", "-o", folder / "mf", "-m", "biased-mf", "--set", "factors=2").exit_code == 0
    done = shell("cofactor onboard mf <&-", folder)
    assert done.returncode == 0
    assert "You rated 0 of" in done.stdout
    assert clean(done.stderr) == []


def run_script(code: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run Python code in a child process, in a folder."""
    return subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False, timeout=60
    )


def test_an_interrupt_during_imports_prints_no_traceback(folder: Path) -> None:
    code = (
        "import sys\n"
        "class Stop:\n"
        "    def find_spec(self, name, *rest):\n"
        "        if name == 'cofactor.cli.fit':\n            raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Stop())\n"
        "from cofactor.__main__ import main\n"
        "main()\n"
    )
    done = run_script(code)
    assert done.returncode == 130
    assert clean(done.stderr) == []


def test_an_interrupt_in_a_command_prints_one_line(folder: Path) -> None:
    code = (
        "import sys, cofactor.recommender.recommender as r\n"
        "from cofactor.cli import run\n"
        "def stop(*a, **k):\n    raise KeyboardInterrupt\n"
        "r.Recommender.load = stop\n"
        "sys.argv = ['cofactor', 'recommend', 'm', '--all']\n"
        "run()\n"
    )
    done = run_script(code, folder)
    assert done.returncode == 130
    assert clean(done.stderr) == ["stopped"]


# warnings and log records


def test_warnings_and_log_records_have_our_format(folder: Path) -> None:
    code = (
        "import sys, logging, threading, warnings, numpy as np, cofactor.recommender.recommender as r\n"
        "from cofactor.cli import run\n"
        "from cofactor.errors import DataError\n"
        "def load(*a, **k):\n"
        "    np.float32([1e38]) * np.float32([1e38])\n"
        "    for _ in range(2):\n        warnings.warn('two\\nlines \\x1b[31m', RuntimeWarning)\n"
        "    logging.getLogger('cofactor.kernels').info('compiled')\n"
        "    logging.getLogger('other').warning('foreign')\n"
        "    logging.getLogger('other').info('silent')\n"
        "    thread = threading.Thread(target=lambda: 1 / 0)\n"
        "    thread.start()\n    thread.join()\n"
        "    raise DataError('the end')\n"
        "r.Recommender.load = load\n"
        "sys.argv = ['cofactor', 'recommend', 'm', '--all']\n"
        "run()\n"
    )
    done = run_script(code, folder)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "warning: overflow encountered in multiply",
        "warning: two lines ?[31m",
        "note: compiled",
        "warning: foreign",
        "warning: a thread failed: ZeroDivisionError: division by zero",
        "error: the end",
    ]


@pytest.mark.parametrize("value", ["1e12", "1e30"])
def test_huge_ratings_give_no_raw_warning(tmp_path: Path, value: str) -> None:
    rows = RATINGS.replace(",5\n", f",{value}\n")
    (tmp_path / "huge.csv").write_text(rows)
    done = shell("cofactor evaluate huge.csv -m biased-mf -m explicit-als -m item-knn", tmp_path)
    for line in clean(done.stderr):
        assert line.startswith(("error: ", "warning: "))
        assert ".py" not in line


def test_tuning_prints_no_log_lines_of_other_libraries(folder: Path, tmp_path: Path) -> None:
    done = shell(f"cofactor tune r.csv -m bias --trials 2 --storage {tmp_path}/t.db", folder)
    assert done.returncode == 0
    assert clean(done.stderr) == []


# names of files

NAMES = [
    "a b", "$(touch pwned)", "`touch pwned`", "-r", "line\nbreak", "tab\there", "r[1]", "it's \"quoted\"", "~", "#",
    "a*b?", "semi;colon&", "\x1b[31mred", "back\\slash", "percent%41", "é", "{1,2}", "!bang", "=x",
    ".hidden", "x" * 240,
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_unusual_names_are_read_written_and_suggested(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(f"{name}.csv").write_text(RATINGS)
    here = "./" if name.startswith("-") else ""
    fitted = run("fit", f"{here}{name}.csv", "-o", f"{name}.cof", "-m", "bias")
    assert fitted.exit_code == 0, fitted.stderr
    suggested = fitted.stdout.split("Next: cofactor ", 1)[1]
    assert run("describe", f"{here}{name}.csv").exit_code == 0
    for ending in ("csv", "tsv", "parquet"):
        written = run("predict", f"./{name}.cof", "--pairs", f"{here}{name}.csv", "-o", f"p{name}.{ending}")
        assert written.exit_code == 0, written.stderr
        assert run("predict", f"./{name}.cof", "--pairs", f"p{name}.{ending}").exit_code == 0
    arguments = subprocess.run(["sh", "-c", f"printf '%s\\0' {suggested}"], capture_output=True, check=True).stdout
    suggestion = run(*os.fsdecode(arguments).split("\0")[:-1])
    assert suggestion.exit_code == 0, suggestion.stderr
    assert suggestion.stdout.startswith("For user u1")
    assert not Path("pwned").exists()
    assert not list(tmp_path.glob(".*.tmp"))


def test_a_name_of_255_bytes_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("r.csv").write_text(RATINGS)
    model, out = "é" * 127 + "m", "x" * 251 + ".csv"
    assert run("fit", "r.csv", "-o", model, "-m", "bias").exit_code == 0
    assert run("recommend", model, "--all", "-o", out).exit_code == 0
    assert run("describe", "r.csv", "--items", out, "--item-id", "item").exit_code == 2  # an item has several rows
    result = run("fit", "r.csv", "-o", "y" * 256, "-m", "bias")
    assert result.exit_code in (1, 2)
    assert result.stderr.splitlines()[-1].endswith(": File name too long")


def test_names_that_are_not_utf8_are_written_but_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    name = os.fsdecode(b"\xff\xfe")
    Path("r.csv").write_text(RATINGS)
    Path(f"{name}.csv").write_text(RATINGS)
    Path(f"{name}.parquet").write_text("PAR1, and no more")
    for ending in ("csv", "parquet"):
        result = run("describe", f"{name}.{ending}")
        assert result.exit_code == 2
        assert result.stderr.startswith(f"error: ??.{ending}: the file name is not valid UTF-8; ")
    fitted = run("fit", "r.csv", "-o", f"{name}.cof", "-m", "bias")
    assert fitted.exit_code == 0
    assert "Next: cofactor recommend \"$(printf '\\377\\376\\056cof')\" --user u1" in fitted.stdout
    for ending in ("csv", "tsv", "parquet"):
        assert run("recommend", f"{name}.cof", "--all", "-o", f"{name}.out.{ending}").exit_code == 0
    assert len(list(tmp_path.iterdir())) == 7


@pytest.mark.parametrize("name", ["[/bold]", "[red]x"])
def test_markup_in_arguments_is_text(folder: Path, name: str) -> None:
    for arguments in (
        [name],
        ["fit", folder / "r.csv", "-o", "x", "-m", "biased-mf", f"--{name}"],
        ["recommend", name, "--all"],
    ):
        result = run(*arguments, COLUMNS="80")
        assert result.exit_code == 2
        assert name in result.stderr


# full disks and folders that cannot be written

FULL = """
import json, resource, sys
from typer.testing import CliRunner
from cofactor.cli import app
for line in json.loads(sys.argv[2]):  # kernels that are compiled under the limit are not stored
    assert CliRunner().invoke(app, line).exit_code == 0, line
resource.setrlimit(resource.RLIMIT_FSIZE, (200, 200))
results = []
for line in json.loads(sys.argv[1]):
    result = CliRunner().invoke(app, line)
    bug = None if result.exception is None or isinstance(result.exception, SystemExit) else repr(result.exception)
    results.append([result.exit_code, (result.stderr.splitlines() or [""])[-1], bug])
print(json.dumps(results))
"""


def test_a_full_disk_gives_one_line_in_every_format(folder: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.csv"
    bad.write_text(RATINGS + "u1,f1,nan\n" * 50)
    settings = [
        argument
        for setting in ("iterations=6", "burn_in=2", "kept_samples=2", "factors=2")
        for argument in ("--set", setting)
    ]
    calibrated = ["-m", "bayesian-mf", *settings]
    commands = {
        "m.cofactor": ["fit", "r.csv", "-m", "bias", "-o"],
        "r.html": ["report", "r.csv", "-m", "bias", "--rounds", "1", "-o"],
        "c.html": ["evaluate", "r.csv", "--calibration", *calibrated, "--plot"],
        "t.db": ["tune", "r.csv", "-m", "bias", "--trials", "1", "--storage"],
        "q.csv": ["describe", str(bad), "--on-error", "quarantine", "--quarantine"],
    }
    for ending in ("csv", "tsv", "parquet"):
        commands |= {
            f"recommend.{ending}": ["recommend", "m", "--all", "-o"],
            f"predict.{ending}": ["predict", "m", "--pairs", "r.csv", "-o"],
        }
    lines = [[*command, str(tmp_path / name)] for name, command in commands.items()]
    warm = [[*commands[name], str(folder / name)] for name in ("r.html", "c.html", "predict.csv")]
    done = subprocess.run(
        [sys.executable, "-c", FULL, json.dumps(lines), json.dumps(warm)],
        cwd=folder, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for name, (code, message, bug) in zip(commands, json.loads(done.stdout), strict=True):
        assert bug is None, name
        assert code in (1, 2), name
        assert message.startswith("error: "), name
        assert str(tmp_path / name) in message
        assert ("disk I/O error" if name == "t.db" else "File too large") in message
        assert code == 1 or name == "t.db"
    assert {path.name for path in tmp_path.iterdir()} <= {"bad.csv", "t.db"}


def test_a_full_cache_costs_only_time(folder: Path, tmp_path: Path) -> None:
    code = (
        "import resource, sys\n"
        "from cofactor.cli import run\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))\n"
        "sys.argv = ['cofactor', 'recommend', 'm', '--user', 'u1', '--json']\n"
        "run()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False, timeout=120,
        env={**os.environ, "COFACTOR_CACHE": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "cannot be written (File too large)" in done.stderr
    assert "COFACTOR_CACHE" in done.stderr
    assert json.loads(done.stdout) == json.loads(run("recommend", folder / "m", "--user", "u1", "--json").stdout)


@pytest.mark.parametrize("cache", ["/proc/nowhere", "r.csv"])
def test_an_unwritable_cache_costs_only_time(folder: Path, cache: str) -> None:
    done = shell("cofactor recommend m --user u1 --json", folder, COFACTOR_CACHE=cache)
    assert done.returncode == 0, done.stderr
    [warning] = clean(done.stderr)
    assert warning.startswith(f"warning: {cache}/kernels-")
    assert len(json.loads(done.stdout)) == 1


def test_without_a_home_folder_only_data_sets_need_a_cache(folder: Path) -> None:
    code = (
        "import os, pwd, sys\n"
        "for name in ('HOME', 'XDG_CACHE_HOME', 'COFACTOR_CACHE', 'COFACTOR_DATA'):\n    os.environ.pop(name, None)\n"
        "def unknown(uid):\n    raise KeyError(uid)\n"
        "pwd.getpwuid = unknown\n"
        "from cofactor.cli import run\n"
        "run()\n"
    )
    for arguments, expected, beginning in (
        (["recommend", "m", "--all"], 0, "warning: "),
        (["fetch", "movielens-100k"], 2, "error: "),
    ):
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments],
            cwd=folder, capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
        assert done.returncode == expected
        [line] = clean(done.stderr)
        assert line.startswith(beginning)
        assert "COFACTOR_CACHE" in line


def _without_override() -> None:
    """Apply file permissions to root as well, from the next program on."""
    libc = ctypes.CDLL(None)
    for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
        libc.prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP


@pytest.mark.skipif(sys.platform != "linux", reason="permissions of root are dropped by a call of Linux")
@pytest.mark.parametrize(
    "command",
    [
        "fit r.csv -m bias -o no/x", "recommend m --all -o no/x.parquet",
        "tune r.csv -m bias --trials 1 -o no/x.json", "tune r.csv -m bias --trials 1 --storage no/x.db",
        "serve r.csv -m bias --port 0 --data no/x", "backup no/x --data no/y", "trainer --once --data no/x",
        "fetch movielens-100k",
    ],
)  # fmt: skip
def test_an_unwritable_folder_gives_one_line(folder: Path, command: str) -> None:
    (folder / "no").mkdir(exist_ok=True)
    (folder / "no").chmod(0o555)
    environment = {k: v for k, v in os.environ.items() if k != "COFACTOR_DATA"}
    done = subprocess.run(
        [sys.executable, "-m", "cofactor", *command.split()],
        cwd=folder, capture_output=True, text=True, check=False, timeout=120, preexec_fn=_without_override,
        env={**environment, "COFACTOR_CACHE": "no"} if command.startswith("fetch") else environment,
    )  # fmt: skip
    assert done.returncode in (1, 2)
    [line] = clean(done.stderr)
    assert line.startswith("error: ")
    assert "no" in line
    assert not list((folder / "no").iterdir())


# terminals


@pytest.mark.parametrize("columns", ["40", "1", "x"])
def test_any_terminal_width_is_supported(folder: Path, columns: str) -> None:
    for line in ("describe r.csv", "recommend m --user u1", "models bias", "fetch --list", "evaluate r.csv -m bias"):
        result = run(*[folder / part if part in ("r.csv", "m") else part for part in line.split()], COLUMNS=columns)
        assert result.exit_code == 0, (line, result.exception)


@pytest.mark.parametrize("environment", [{"LANG": "C", "LC_ALL": "C"}, {"PYTHONIOENCODING": "ascii"}, {"TERM": "dumb"}])
def test_titles_and_names_are_printed_on_every_terminal(tmp_path: Path, environment: dict[str, str]) -> None:
    (tmp_path / "é.csv").write_text(RATINGS, encoding="utf-8")
    (tmp_path / "films.csv").write_text("item,title\n" + "".join(f"f{i},Amélie ☃ {i}\n" for i in range(1, 9)), "utf-8")
    line = "cofactor fit é.csv -o é.cof -m bias --items films.csv"
    done = shell(line, tmp_path, **environment)
    assert done.returncode == 0, done.stderr
    suggested = done.stdout.split("Next: ")[1]
    done = shell(f"{suggested.strip()} --include-seen", tmp_path, **environment)
    assert done.returncode == 0, done.stderr
    assert "lie" in done.stdout


def test_without_color_no_escape_code_is_printed(folder: Path) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR"):
        result = run("describe", folder / "r.csv", "--json", **{name: "1"})
        assert "\x1b" not in result.stdout
    assert "\x1b" not in run("recommend", folder / "m", "--all", NO_COLOR="1").stdout
