"""All commands in one application, and how it ends: a result, or one line that says what was wrong.

Nothing heavy is imported here or at the head of a command's file: `--help` must be instant.
"""

from __future__ import annotations

import errno
import os
import sys
from typing import Any

import typer
from typer import BadParameter
from typer.core import TyperCommand, TyperGroup

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
from cofactor.cli.streams import log_lines, open_streams, printable, say
from cofactor.cli.trainer import trainer
from cofactor.cli.tune import tune
from cofactor.errors import CofactorError

__all__ = ["app", "run"]

HELP = ["-h", "--help"]
USER_ERROR, OTHER_ERROR, INTERRUPTED = 2, 1, 130
MACHINE_FAULTS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.EMFILE, errno.ENOMEM)
"""Failures of the machine: a full or read-only disk, too many open files. They end with code 1, not 2."""


class OneLineErrors(TyperGroup):
    """Run a command; an expected error becomes `error: ...` on stderr and an exit code."""

    def main(self, *args: Any, **options: Any) -> Any:
        """Run the whole command line: log lines are formatted, and output that cannot be written is an error."""
        with log_lines():
            try:
                try:
                    return super().main(*args, **options)
                finally:
                    sys.stdout.flush()
            except OSError as problem:  # of the help, or of what was still to be written
                sys.exit(_system_error(problem).exit_code)

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
        """Run the command: an expected error, or a failure of the system, ends in one line and an exit code."""
        try:
            done = super().invoke(ctx)
            sys.stdout.flush()
        except BadParameter as problem:
            if type(problem) is not BadParameter:  # a missing parameter: typer shows the usage
                raise
            raise _ended(f"error: {_option_names(problem)} {problem.message}", USER_ERROR) from problem
        except CofactorError as problem:
            raise _ended(f"error: {problem}", _code_of(problem)) from problem
        except KeyboardInterrupt as stop:
            raise _ended("stopped", INTERRUPTED) from stop
        except (OSError, MemoryError) as problem:
            raise _system_error(problem) from problem
        return done


LEFT_OUT = ("value", "time", "weight")
"""Options that name a column: empty, they leave it out."""


class OneValueEach(TyperCommand):
    """A command whose options are not empty (but for `LEFT_OUT`), and are given once unless they are repeatable."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the options of this command. Raises BadParameter."""
        given, _, order = self.make_parser(ctx).parse_args(args=list(args))
        parameters: list[Any] = self.get_params(ctx)
        for parameter in parameters:
            values = given.get(parameter.name)
            may_be_empty = parameter.name in LEFT_OUT
            if not may_be_empty and any(isinstance(value, str) and not value.strip() for value in _each(values)):
                raise BadParameter("must not be empty", ctx=ctx, param=parameter)
            repeatable = parameter.multiple or (getattr(parameter, "is_flag", False) and not parameter.secondary_opts)
            if not repeatable and order.count(parameter) > 1:
                raise BadParameter("is given twice, and takes one value", ctx=ctx, param=parameter)
        return super().parse_args(ctx, args)


def _each(values: Any) -> list[Any]:
    return list(values) if isinstance(values, (list, tuple)) else [values]


def _option_names(problem: Any) -> str:
    """The option or argument of a usage error, as it is typed."""
    if problem.param is None:
        return str(problem.param_hint or "the command line")
    named = problem.param.param_type_name == "option"
    return "/".join(problem.param.opts) if named else str(problem.param.metavar)


def _unwrapped(command: Any) -> str:
    """A docstring with its paragraphs on one line each, for the terminal to wrap; its brackets are no markup."""
    text = str(command.__doc__).replace("[", r"\[")
    return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))


app = typer.Typer(
    cls=OneLineErrors,
    name="cofactor",
    help="Collaborative filtering you can run, read and trust.\n\n"
    "New here? `[bold]cofactor demo[/bold]` shows everything on real film ratings.",
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
        app.command(
            cls=OneValueEach, help=_unwrapped(command), rich_help_panel=panel,
            context_settings={"ignore_unknown_options": command is explain},  # an id may begin with a dash
        )(command)  # fmt: skip


def run() -> None:
    """Run the command line and end the process with its exit code: 0, 2 for a user's error, 1, or 130."""
    open_streams()
    sys.excepthook = _report_bug
    try:
        typer.main.get_command(app)(prog_name="cofactor")
    except SystemExit as end:
        if end.code == INTERRUPTED:  # at once: half-compiled kernels may not survive an orderly end
            os._exit(INTERRUPTED)
        raise
    except KeyboardInterrupt:  # before a command began
        say("stopped")
        os._exit(INTERRUPTED)


def _ended(line: str, code: int) -> typer.Exit:
    say(" ".join(line.split("\n")))
    return typer.Exit(code)


def _code_of(problem: BaseException) -> int:
    """The exit code of an expected error: 1 where the machine is at fault, else 2."""
    cause = problem.__cause__
    return OTHER_ERROR if isinstance(cause, OSError) and cause.errno in MACHINE_FAULTS else USER_ERROR


def _system_error(problem: BaseException) -> typer.Exit:
    """The end after a failure of the system. Nothing is said where the reader of a pipe has left."""
    if not _of_stdout(problem):
        return _ended(f"error: {_described(problem)}", OTHER_ERROR)
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # so that the interpreter can end
    if isinstance(problem, BrokenPipeError):
        return typer.Exit(OTHER_ERROR)
    return _ended(f"error: standard output cannot be written: {_described(problem)}", OTHER_ERROR)


def _of_stdout(problem: BaseException) -> bool:
    """Whether standard output failed: our own files have a name."""
    unwritable = (errno.EPIPE, errno.EBADF, *MACHINE_FAULTS)
    return isinstance(problem, OSError) and problem.filename is None and problem.errno in unwritable


def _described(problem: BaseException) -> str:
    if isinstance(problem, MemoryError):
        return "there is not enough memory for this"
    if isinstance(problem, OSError) and problem.strerror:
        where = "" if problem.filename is None else f"{printable(problem.filename)}: "
        return f"{where}{problem.strerror}"
    return str(problem)


def _report_bug(kind: type[BaseException], problem: BaseException, trace: Any) -> None:
    """What was not foreseen is our mistake: said in one line, with the trace for who asks for it."""
    if os.environ.get("COFACTOR_TRACEBACK"):
        sys.__excepthook__(kind, problem, trace)
        return
    said = " ".join(f"{kind.__name__}: {problem}".split())
    say(f"error: this is a bug in cofactor ({said}); please report it with what COFACTOR_TRACEBACK=1 shows")
