"""Bad input at the command line: one line with the reason, exit code 2, and never a traceback."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.command_line import ok, run

RATINGS = "user,item,rating\n" + "".join(f"{u},{i},{(u * i) % 5 + 1}\n" for u in range(1, 13) for i in range(1, 9))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("bad")
    (home / "r.csv").write_text(RATINGS)
    (home / "strings.csv").write_text(re.sub(r"^(\d)", r"u\1", RATINGS, flags=re.MULTILINE))
    (home / "clicks.csv").write_text("user,item\n1,a\n1,b\n2,a\n")
    (home / "bad.csv").write_text("user,item,rating\n1,1,5\n1,2,nan\n2,,3\n")
    (home / "pairs.csv").write_text("user,item\n1,1\n2,2\n")
    (home / "only_users.csv").write_text("user,stars\n1,2\n")
    (home / "holes.csv").write_text("user,item\n1,1\n2,\n,3\n")
    (home / "no_pairs.csv").write_text("user,item\n")
    (home / "text.txt").write_text("this is no model, but it is long enough to be one\n" * 20)
    for name, options in {
        "m": ["-m", "biased-mf"],
        "s": ["-m", "biased-mf"],
        "e": ["--min-rating", "4", "-m", "implicit-als"],
    }.items():
        source = home / ("strings.csv" if name == "s" else "r.csv")
        ok("fit", source, "-o", home / name, "--set", "factors=2", *options)
    content = (home / "m").read_bytes()
    (home / "cut").write_bytes(content[: len(content) // 2])
    (home / "damaged").write_bytes(content[:-9] + bytes([content[-9] ^ 255]) + content[-8:])
    (home / "empty").write_bytes(b"")
    os.mkfifo(home / "pipe")
    return home


CASES = {
    "missing file": ("describe nope.csv", "nope.csv: there is no such file"),
    "misspelled data set": ("describe movielens100k", "neither a file in the current folder nor a data set"),
    "a folder as a table": ("describe .", "folder|directory"),
    "bad rows": ("describe bad.csv", r"line 3.*nan.*--on-error quarantine"),
    "bad policy": ("describe r.csv --on-error ignore", "--on-error must be raise or quarantine, not 'ignore'"),
    "quarantine without the policy": ("describe r.csv --quarantine q.csv", "quarantine"),
    "a model over its table": ("fit r.csv -o ./r.csv", "would be overwritten"),
    "settings over their table": ("tune r.csv --model bias -o r.csv", "would be overwritten"),
    "predictions over their pairs": ("predict m --pairs pairs.csv -o pairs.csv", "would be overwritten"),
    "wrong column": ("describe r.csv --user nobody", "no column 'nobody' for the user.*'user', 'item', 'rating'"),
    "no value column": ("describe clicks.csv", "--value"),
    "unknown format": ("describe r.csv --format xls", "--format must be csv or tsv"),
    "a query for a file": ("describe r.csv --query select", "databases"),
    "a url without a query": ("describe sqlite:///nope.db", "query"),
    "levels that are no numbers": ("describe r.csv --rating-levels a,b", "--rating-levels must be comma-separated"),
    "ratings off their levels": ("describe r.csv --rating-levels 1,2,3", "line"),
    "column of a data set": ("describe movielens-100k --user u", "--user applies only to files"),
    "data set as events": ("describe movielens-100k --events", "--min-rating"),
    "events and min-rating": ("describe r.csv --events --min-rating 3", "--events cannot be combined"),
    "nothing is positive": ("describe r.csv --min-rating 9", "min_rating=9"),
    "item-id without items": ("describe r.csv --item-id x", "--items FILE"),
    "user-id without users": ("describe r.csv --user-id x", "--users FILE"),
    "gain without min-rating": ("describe r.csv --gain 0.5", "--gain requires --min-rating"),
    "features without a table": ("fit r.csv -o x --model bayesian-mf --set user_features=age", "is no user table"),
    "time bins without times": ("fit r.csv -o x --model bayesian-mf --set time_bin=60", "requires a time"),
    "items without that column": ("describe r.csv --items pairs.csv --item-id x", "no column 'x'"),
    "missing items": ("describe r.csv --items nope.csv", "nope.csv"),
    "unknown data set": ("fetch movielens", "unknown data set name 'movielens'; available: movielens-100k"),
    "no data set": ("fetch", "--list shows the names"),
    "unknown model": ("fit r.csv -o x --model biasd-mf", r"unknown model 'biasd-mf' \(did you mean biased-mf\?\)"),
    "unknown model to list": ("models svd", "unknown model 'svd'"),
    "unknown setting": (
        "fit r.csv -o x -m biased-mf --set factor=3",
        r"no setting 'factor' \(did you mean factors.*factors=50: ",
    ),
    "setting of a model without any": ("fit r.csv -o x --min-rating 4 --model popularity --set a=1", "no settings"),
    "setting out of range": ("fit r.csv -o x -m biased-mf --set factors=0", "factors must be from 1 to 1024, not 0"),
    "setting of the wrong type": (
        "fit r.csv -o x -m biased-mf --set factors=many",
        "factors must be an integer, not 'many'",
    ),
    "half a factor": ("fit r.csv -o x -m biased-mf --set factors=2.5", "factors must be an integer"),
    "infinite setting": ("fit r.csv -o x -m biased-mf --set l2=inf", "l2 must be a number"),
    "yes and no": ("fit r.csv -o x -m biased-mf --set biases=2", "biases must be true or false"),
    "three ends of a range": (
        "fit r.csv -o x -m biased-mf --set rating_range=1,2,3",
        "2 comma-separated numbers or scale or none",
    ),
    "falling range": ("fit r.csv -o x -m biased-mf --set rating_range=5,1", "two increasing numbers"),
    "setting without a value": ("fit r.csv -o x -m biased-mf --set factors", "--set takes name=value"),
    "setting of another model": ("evaluate r.csv --set bias.damping=1", "'bias' is not one of the requested models"),
    "no output folder": ("fit r.csv -o nowhere/m", "folder nowhere does not exist"),
    "output is a folder": ("fit r.csv -o .", "is a folder"),
    "ratings for a model of events": ("fit r.csv -o x --model implicit-als", "--min-rating 4.*--events"),
    "events for a model of ratings": (
        "fit clicks.csv -o x -m biased-mf --events",
        "biased-mf needs ratings.*implicit-als",
    ),
    "positives for a model of ratings": ("fit r.csv -o x -m biased-mf --min-rating 4", "biased-mf needs ratings"),
    "validation of everything": ("fit r.csv -o x --validation 1", "--validation must be a fraction strictly between"),
    "validation of nothing": ("fit r.csv -o x --validation 0", "--validation must be a fraction strictly between"),
    "divergence": (
        "fit r.csv -o x -m biased-mf --set learning_rate=10 --set rating_range=none --set init_std=10",
        "diverged in epoch",
    ),
    "test of 2": ("evaluate r.csv --test 2", "--test must be a fraction between 0 and 1 with --split random, not 2"),
    "test of nan": ("evaluate r.csv --test nan", "--test must be a finite number, not nan"),
    "half a last row": ("evaluate r.csv --split last --test 0.5", "--test must be an integer of at least 1"),
    "endless last rows": ("evaluate r.csv --split last --test inf", "--test must be a finite number, not inf"),
    "unknown split": ("evaluate r.csv --split fair", "--split must be random or per-user"),
    "by time without times": ("evaluate r.csv --split by-time", "no times"),
    "two kinds at once": ("evaluate r.csv --model biased-mf --model implicit-als", "implicit-als needs events"),
    "k of 0": ("evaluate r.csv --min-rating 4 --k 0", "--k/-k must be an integer >= 1"),
    "missing model": ("recommend nope --user 1", "nope cannot be read"),
    "foreign model": ("recommend text.txt --user 1", "not a cofactor file"),
    "empty model": ("recommend empty --user 1", "truncated"),
    "cut model": ("recommend cut --user 1", "truncated"),
    "damaged model": ("recommend damaged --user 1", "damaged"),
    "a folder as a model": ("similar . --item 1", "cannot be read"),
    "table instead of a model": ("predict r.csv --user 1 --item 1", "not a cofactor file"),
    "nobody asked": ("recommend m", "pass either --user ID or --all"),
    "two ways to ask": ("recommend m --user 1 --all", "pass either --user ID or --all"),
    "unknown user": ("recommend m --user 99", r"user '99' is not known to the model; known IDs are 1, 2.*--rated ITEM"),
    "user of another type": ("recommend m --user ana", "user 'ana' is not known"),
    "zeros in front": ("recommend m --user 01", "user '01' is not known"),
    "integer for string ids": ("recommend s --user 1", "user '1' is not known to the model; known IDs are 'u1'"),
    "one unknown of two": ("recommend m --user 1 --user 77", "user '77' is not known"),
    "empty id": (["recommend", "m", "--user", ""], "--user must not be empty"),
    "n of 0": ("recommend m --user 1 -n 0", "-n/--n must be .*, not 0"),
    "negative n": ("similar m --item 1 -n -1", "-n/--n must be .*, not -1"),
    "unknown item rated": ("recommend m --rated 99=5", "item '99' is not known"),
    "rated without a rating": ("recommend m --rated 1", "--rated takes ITEM=RATING"),
    "rated with a word": ("recommend m --rated 1=good", "--rated takes ITEM=RATING.*'1=good'"),
    "rated nan": ("recommend m --rated 1=nan", "--rated 1=nan.*not on the rating scale of 1 to 5"),
    "rated off the scale": ("recommend m --rated 1=7", "--rated 1=7.*not on the rating scale of 1 to 5"),
    "rated between levels": ("recommend m --rated 1=4.5", "is 4.5.*not on the rating scale.*levels 1, 2, 3, 4, 5"),
    "rated twice": ("recommend m --rated 1=5 --rated 1=4", "twice"),
    "took for ratings": ("recommend m --item 1", "--rated ITEM=RATING"),
    "rated for events": ("recommend e --rated 1=5", "--item ITEM"),
    "unknown item taken": ("recommend e --item x", "item 'x' is not known"),
    "seen by somebody new": ("recommend m --rated 1=5 --include-seen", "--include-seen"),
    "unknown ending": ("recommend m --all -o out.xlsx", r"out.xlsx must end in \.csv, \.tsv or \.parquet"),
    "no folder for results": ("recommend m --all -o nowhere/out.csv", "folder nowhere does not exist"),
    "results into a device": ("fit r.csv -o pipe", "pipe is not a regular file"),
    "results where nothing can be": ("recommend m --all -o /proc/out.csv", "/proc/out.csv cannot be written"),
    "unknown explained user": ("explain m 99 1", "user '99' is not known"),
    "unknown explained item": ("explain m 1 99", "item '99' is not known"),
    "unknown similar item": ("similar m --item 99", "item '99' is not known"),
    "unknown similar user": ("similar m --user x", "user 'x' is not known"),
    "similar to nothing": ("similar m", "--item ID or --user ID"),
    "similar to two things": ("similar m --item 1 --user 1", "--item ID or --user ID"),
    "neither pairs nor a pair": ("predict m", "--pairs FILE"),
    "half a pair": ("predict m --user 1", "--pairs FILE"),
    "pairs and a pair": ("predict m --pairs pairs.csv --user 1 --item 1", "--pairs FILE"),
    "missing pairs": ("predict m --pairs nope.csv", "nope.csv"),
    "pairs without items": ("predict m --pairs only_users.csv", "no column for the item"),
    "pairs with holes": ("predict m --pairs holes.csv", "pair 3: the user is missing"),
    "no pairs": ("predict m --pairs no_pairs.csv", "no user-item pairs"),
    "pairs by a wrong column": ("predict m --pairs pairs.csv --item-column sku", "no column 'sku'"),
    "predictions as a sheet": ("predict m --pairs pairs.csv -o out.xls", "must end in"),
    "seed in powers": ("evaluate r.csv --seed 1e3", "--seed must be an integer from 0 to .*, not '1e3'"),
    "seed below 0": ("fit r.csv -o x --seed -1", "--seed must be an integer from 0 to .*, not -1"),
    "seed of 2 to the 40": ("fit r.csv -o x --seed 1099511627776", "--seed must be an integer from 0 to"),
    "half of a seed": ("report r.csv --seed 1.5", "--seed must be an integer"),
    "n of 1.5": ("recommend m --user 1 --n 1.5", "--n must be an integer >= 1, not '1.5'"),
    "n of 1e9 digits": ("recommend m --user 1 -n 99999999999999999999", "--n must be an integer from 1 to"),
    "n of nothing": (["recommend", "m", "--user", "1", "-n", ""], "-n/--n must not be empty"),
    "short k": ("compare r.csv --min-rating 4 -k -3", "--k/-k must be an integer >= 1, not -3"),
    "k of a word": ("tune r.csv -k ten", "--k/-k must be an integer"),
    "trials of 0": ("tune r.csv --trials 0", "--trials must be an integer >= 1"),
    "users of 0": ("describe r.csv --top-users 0", "--top-users must be an integer >= 1"),
    "items of 2.5": ("describe r.csv --top-items 2.5", "--top-items must be an integer >= 1"),
    "questions of nan": ("onboard m --questions nan", "--questions must be an integer >= 1"),
    "rounds below 1": ("report r.csv --rounds 0", "--rounds must be an integer >= 1"),
    "parts below 1": ("explain m 1 1 -n 0", "-n/--n must be an integer >= 1"),
    "validation of inf": ("tune r.csv --validation inf", "--validation must be a fraction strictly between 0 and 1"),
    "test of 1": ("compare r.csv --test 1", "--test must be a fraction between 0 and 1 with --split random, not 1"),
    "0 last rows": ("tune r.csv --split last --test 0", "--test must be an integer of at least 1"),
    "positive from nan": ("fit r.csv -o x --min-rating nan", "--min-rating must be a finite number, not nan"),
    "positive from a word": ("fit r.csv -o x --min-rating four", "--min-rating must be a finite number"),
    "gain below 0": ("describe r.csv --min-rating 4 --gain -1", "--gain must be a finite number >= 0"),
    "gain of inf": ("describe r.csv --min-rating 4 --gain inf", "--gain must be a finite number >= 0"),
    "levels of nan": ("describe r.csv --rating-levels 1,nan", "--rating-levels must be comma-separated numbers"),
    "diversity of nan": ("recommend m --user 1 --diversity nan", "--diversity must be a finite number from 0 to 1"),
    "unknown role": ("key --role owner", "--role must be read or write or admin, not 'owner'"),
    "every moment": ("trainer --every 0", "--every must be a finite number >= 1"),
    "0 changes": ("trainer --after-events 0", "--after-events must be an integer >= 1"),
    "a port of a word": ("serve r.csv --port x", "--port must be an integer from 0 to 65535, not 'x'"),
    "a port too high": ("serve r.csv --port 99999", "--port must be an integer from 0 to 65535, not 99999"),
    "no workers": ("serve r.csv --workers 0", "--workers must be an integer >= 1"),
    "an unknown id with a dash": ("explain m -1 5", "user '-1' is not known to the model"),
    "two seeds": ("fit r.csv -o x --seed 1 --seed 2", "--seed is given more than once"),
    "two models": ("fit r.csv -o x --model bias -m biased-mf", "--model/-m is given more than once"),
    "two outputs": ("recommend m --all -o a.csv --output b.csv", "--output/-o is given more than once"),
    "no table": (["describe", ""], "RATINGS must not be empty"),
    "a blank table": (["fit", "  ", "-o", "x"], "RATINGS must not be empty"),
    "no output": (["fit", "r.csv", "-o", ""], "--output/-o must not be empty"),
    "no items": (["describe", "r.csv", "--items", ""], "--items must not be empty"),
    "no model": (["recommend", "", "--user", "1"], "MODEL must not be empty"),
    "no name": (["fit", "r.csv", "-o", "x", "--model", ""], "--model/-m must not be empty"),
    "no setting": (["fit", "r.csv", "-o", "x", "-m", "biased-mf", "--set", ""], "--set must not be empty"),
    "no rating": (["recommend", "m", "--rated", ""], "--rated must not be empty"),
    "no user to explain": (["explain", "m", "", "1"], "USER must not be empty"),
    "the demo's output": ("demo -o nowhere/m", "folder nowhere does not exist"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_bad_input_gives_one_line_and_code_2(folder: Path, case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    command, message = CASES[case]
    monkeypatch.chdir(folder)
    before = sorted(folder.iterdir())
    result = run(*(command.split() if isinstance(command, str) else command))
    assert result.exit_code == 2, (result.exit_code, result.stdout, result.stderr, result.exception)
    assert result.stdout == ""
    lines = [line for line in result.stderr.splitlines() if not line.startswith("note: ")]
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("error: ")
    assert re.search(message, lines[0]), lines[0]
    assert sorted(folder.iterdir()) == before  # no output was started


@pytest.mark.parametrize(
    "arguments",
    [
        ["fit"],
        ["fit", "r.csv"],
        ["frobnicate"],
        ["fit", "r.csv", "-o", "m", "-m", "biased-mf", "--factors", "3"],
    ],
)
def test_wrong_usage_is_explained_with_code_2(folder: Path, arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cofactor", *arguments],
        cwd=folder, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stdout == ""
    assert "Usage: cofactor" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("arguments", [["describe", "nope.csv"], ["recommend", "damaged", "--user", "1"]])
def test_a_real_process_ends_without_a_traceback(folder: Path, arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cofactor", *arguments],
        cwd=folder, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


def test_errors_of_the_system_give_code_1(folder: Path) -> None:
    """A full disk: /dev/full rejects every byte."""
    if not Path("/dev/full").exists():
        assert sys.platform != "linux"
        return
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "cofactor", "describe", "r.csv", "--json"],
            cwd=folder, stdout=full, stderr=subprocess.PIPE, text=True, check=False, timeout=60,
        )  # fmt: skip
    assert done.returncode == 1
    assert "No space left" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_internal_error_gives_one_line_with_advice(folder: Path) -> None:
    code = (
        "import sys, cofactor.cli, cofactor.recommender.recommender as r\n"
        "def fail(*a, **k):\n    raise RuntimeError('two\\nlines')\n"
        "r.Recommender.load = fail\n"
        "sys.argv = ['cofactor', 'recommend', 'm', '--all']\n"
        "cofactor.cli.run()\n"
    )
    for setting, traced in (("", False), ("1", True)):
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=folder, capture_output=True, text=True, check=False, timeout=60,
            env={**os.environ, "COFACTOR_TRACEBACK": setting},
        )  # fmt: skip
        assert done.returncode == 1
        assert ("Traceback" in done.stderr) == traced
        assert "two" in done.stderr
    assert "COFACTOR_TRACEBACK=1" not in done.stderr


def test_an_invalid_number_of_threads(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cofactor", "recommend", "m", "--all", "--json"],
        cwd=folder, capture_output=True, text=True, check=False, timeout=60,
        env={**os.environ, "COFACTOR_THREADS": "many"},
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: COFACTOR_THREADS must be an integer")
