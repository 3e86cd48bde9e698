"""All commands in one application, and how it ends: a result, or one line that says what was wrong.

Nothing heavy is imported here or at the head of a command's file: `--help` must be instant.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import typer
from typer.core import TyperGroup

from cofactor.cli.backup import backup, restore
from cofactor.cli.compare import compare
from cofactor.cli.demo import demo
from cofactor.cli.describe import describe
from cofactor.cli.doctor import doctor
from cofactor.cli.evaluate import evaluate
from cofactor.cli.explain import explain
from cofactor.cli.fetch import fetch
from cofactor.cli.fit import fit
from cofactor.cli.key import key
from cofactor.cli.models import models
from cofactor.cli.onboard import onboard
from cofactor.cli.predict import predict
from cofactor.cli.recommend import recommend
from cofactor.cli.report import report
from cofactor.cli.serve import serve
from cofactor.cli.similar import similar
from cofactor.cli.trainer import trainer
from cofactor.cli.tune import tune
from cofactor.errors import CofactorError

__all__ = ["app", "run"]

HELP = ["-h", "--help"]
USER_ERROR, OTHER_ERROR, INTERRUPTED = 2, 1, 130


class OneLineErrors(TyperGroup):
    """Runs a command; what goes wrong on purpose becomes `error: ...` on stderr and an exit code."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Answers `--version` and `COMMAND --help` at once: reading any option costs typer a tenth of a second."""
        if args == ["--version"]:
            from cofactor import __version__

            print(f"cofactor {__version__}")
            ctx.exit()
        if len(args) == 2 and args[0] in self.commands and args[1] in HELP:
            self.commands[args[0]].make_context(args[0], args[1:], parent=ctx)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run it: what is raised on purpose, and what the system refuses, ends in one line and an exit code."""
        try:
            done = super().invoke(ctx)
            sys.stdout.flush()
        except CofactorError as problem:
            raise _ended(f"error: {problem}", USER_ERROR) from problem
        except BrokenPipeError as gone:
            raise _quiet() from gone
        except KeyboardInterrupt as stop:
            raise _ended("stopped", INTERRUPTED) from stop
        except (OSError, MemoryError) as problem:
            raise _ended(f"error: {_described(problem)}", OTHER_ERROR) from problem
        return done


def _unwrapped(command: Any) -> str:
    """A docstring with its paragraphs on one line each, for the terminal to wrap; its brackets are no markup."""
    text = str(command.__doc__).replace("[", r"\[")
    return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))


app = typer.Typer(
    cls=OneLineErrors,
    name="cofactor",
    help="Collaborative filtering you can run, read and trust.\n\n"
    "New here? Type [bold]cofactor demo[/bold]: it shows everything on real film ratings.",
    epilog="cofactor COMMAND --help tells what a command can do. cofactor --version says which cofactor this is.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": HELP, "max_content_width": 100},
)

COMMANDS: dict[str, list[Any]] = {
    "Start here": [demo],
    "Data": [fetch, describe],
    "Learn": [models, fit, evaluate, compare, tune, report],
    "Use a model": [recommend, predict, explain, similar, onboard],
    "Run a service": [serve, key, trainer, doctor, backup, restore],
}
for panel, commands in COMMANDS.items():
    for command in commands:
        app.command(help=_unwrapped(command), rich_help_panel=panel)(command)


def run() -> None:
    """Run the command line and end the process with its exit code: 0, 2 for a user's error, 1, or 130."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a title must not fail in an ASCII terminal
    sys.excepthook = _report_bug
    try:
        try:
            typer.main.get_command(app)(prog_name="cofactor")
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        sys.exit(_quiet().exit_code)
    except SystemExit as end:
        if end.code == INTERRUPTED:  # at once: half-compiled kernels may not survive an orderly end
            sys.stderr.flush()
            os._exit(INTERRUPTED)
        raise


def _ended(line: str, code: int) -> typer.Exit:
    print(" ".join(line.split("\n")), file=sys.stderr)
    return typer.Exit(code)


def _quiet() -> typer.Exit:
    """The reader of our output has gone (`cofactor ... | head`): nothing more can be said to it."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    return typer.Exit(OTHER_ERROR)


def _described(problem: BaseException) -> str:
    if isinstance(problem, MemoryError):
        return "there is not enough memory for this"
    if isinstance(problem, OSError) and problem.strerror:
        where = "" if problem.filename is None else f"{problem.filename}: "
        return f"{where}{problem.strerror}"
    return str(problem)


def _report_bug(kind: type[BaseException], problem: BaseException, trace: Any) -> None:
    """What was not foreseen is our mistake: said in one line, with the trace for who asks for it."""
    if os.environ.get("COFACTOR_TRACEBACK"):
        sys.__excepthook__(kind, problem, trace)
        return
    said = " ".join(f"{kind.__name__}: {problem}".split())
    print(
        f"error: this is a bug in cofactor ({said}); please report it with what COFACTOR_TRACEBACK=1 shows",
        file=sys.stderr,
    )
