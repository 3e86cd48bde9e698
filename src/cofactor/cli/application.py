"""The typer application: registers the commands and turns expected errors into one line and an exit code.

Neither this module nor the top of a command's module imports heavy packages, so that `--help` is instant.
"""

from __future__ import annotations

import errno
import os
import sys
from typing import Any

import typer
from typer import BadParameter
from typer.core import TyperCommand, TyperGroup

from cofactor.cli.compare import compare
from cofactor.cli.demo import demo
from cofactor.cli.describe import describe
from cofactor.cli.evaluate import evaluate
from cofactor.cli.explain import explain
from cofactor.cli.fetch import fetch
from cofactor.cli.fit import fit
from cofactor.cli.models import models
from cofactor.cli.onboard import onboard
from cofactor.cli.operations import backup, doctor, key, restore, trainer
from cofactor.cli.predict import predict
from cofactor.cli.recommend import recommend
from cofactor.cli.report import report
from cofactor.cli.serve import serve
from cofactor.cli.similar import similar
from cofactor.cli.streams import log_lines, open_streams, printable, say
from cofactor.cli.tune import tune
from cofactor.errors import CofactorError

__all__ = ["app", "run"]

HELP = ["-h", "--help"]
USER_ERROR, OTHER_ERROR, INTERRUPTED = 2, 1, 130
MACHINE_FAULTS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.EMFILE, errno.ENOMEM)
"""System errors that the user did not cause, such as a full disk. They exit with code 1 instead of 2."""


class OneLineErrors(TyperGroup):
    """Command group that reports an expected error as one line on stderr, `error: ...`, and an exit code."""

    def main(self, *args: Any, **options: Any) -> Any:
        """Run the command line with formatted log lines; report output that cannot be written as an error.

        Parameters
        ----------
        *args, **options
            Arguments of `TyperGroup.main`.

        Returns
        -------
        Any
            What `TyperGroup.main` returns.
        """
        with log_lines():
            try:
                try:
                    return super().main(*args, **options)
                finally:
                    sys.stdout.flush()
            except OSError as error:  # while printing the help, or while flushing buffered output
                sys.exit(_system_error(error).exit_code)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments; `--version` and `COMMAND --help` skip typer's option parser, which takes 0.1 s.

        Parameters
        ----------
        ctx : typer.Context
            Context of the command line.
        args : list of str
            Arguments as typed.

        Returns
        -------
        list of str
            The remaining arguments.
        """
        if args == ["--version"]:
            from cofactor import __version__

            print(f"cofactor {__version__}")
            ctx.exit()
        if len(args) == 2 and args[0] in self.commands and args[1] in HELP:
            self.commands[args[0]].make_context(args[0], args[1:], parent=ctx)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run the command and report an expected error or a system error as one line and an exit code.

        Parameters
        ----------
        ctx : typer.Context
            Context of the command.

        Returns
        -------
        Any
            What the command returns.

        Raises
        ------
        typer.Exit
            For an expected error, an interrupt or a system error.
        """
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except BadParameter as error:
            if type(error) is not BadParameter:  # a missing parameter: typer shows the usage
                raise
            raise _exit(f"error: {_option_names(error)} {error.message}", USER_ERROR) from error
        except CofactorError as error:
            raise _exit(f"error: {error}", _exit_code(error)) from error
        except KeyboardInterrupt as error:
            raise _exit("stopped", INTERRUPTED) from error
        except (OSError, MemoryError) as error:
            raise _system_error(error) from error
        return result


MAY_BE_EMPTY = ("value", "time", "weight")
"""Options that name a column. An empty value means that the table is read without this column."""


class OneValueEach(TyperCommand):
    """Command that rejects empty options (except `MAY_BE_EMPTY`) and repeated options that take one value."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the options of this command.

        Parameters
        ----------
        ctx : typer.Context
            Context of the command.
        args : list of str
            Arguments as typed.

        Returns
        -------
        list of str
            The remaining arguments.

        Raises
        ------
        BadParameter
            If an option is empty or is repeated although it takes one value.
        """
        options, _, order = self.make_parser(ctx).parse_args(args=list(args))
        parameters: list[Any] = self.get_params(ctx)
        for parameter in parameters:
            values = _as_list(options.get(parameter.name))
            is_empty = any(isinstance(value, str) and not value.strip() for value in values)
            if is_empty and parameter.name not in MAY_BE_EMPTY:
                raise BadParameter("must not be empty", ctx=ctx, param=parameter)
            repeatable = parameter.multiple or (getattr(parameter, "is_flag", False) and not parameter.secondary_opts)
            if not repeatable and order.count(parameter) > 1:
                raise BadParameter("is given twice, and takes one value", ctx=ctx, param=parameter)
        return super().parse_args(ctx, args)


def _as_list(values: Any) -> list[Any]:
    return list(values) if isinstance(values, (list, tuple)) else [values]


def _option_names(error: Any) -> str:
    """Return the option or argument of a usage error as the user types it."""
    if error.param is None:
        return str(error.param_hint or "the command line")
    is_option = error.param.param_type_name == "option"
    return "/".join(error.param.opts) if is_option else str(error.param.metavar)


def _unwrapped(command: Any) -> str:
    """Return a docstring with one line per paragraph, for the terminal to wrap, and with brackets escaped for rich."""
    text = str(command.__doc__).replace("[", r"\[")
    return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))


app = typer.Typer(
    cls=OneLineErrors,
    name="cofactor",
    help="Collaborative filtering you can run, read and trust.\n\n"
    "New to cofactor? Run `[bold]cofactor demo[/bold]` for a tour on real film ratings.",
    epilog="Run cofactor COMMAND --help for the options of a command, and cofactor --version for the version.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": HELP, "max_content_width": 100},
)

COMMANDS: dict[str, list[Any]] = {
    "Start here": [demo],
    "Data": [fetch, describe],
    "Train and evaluate": [models, fit, evaluate, compare, tune, report],
    "Use a model": [recommend, predict, explain, similar, onboard],
    "Run a service": [serve, key, trainer, doctor, backup, restore],
}
for panel, commands in COMMANDS.items():
    for command in commands:
        app.command(
            cls=OneValueEach, help=_unwrapped(command), rich_help_panel=panel,
            context_settings={"ignore_unknown_options": command is explain},  # an ID may begin with a dash
        )(command)  # fmt: skip


def run() -> None:
    """Run the command line and exit: 0 for success, 2 for a user error, 1 for any other error, 130 for an interrupt."""
    open_streams()
    sys.excepthook = _report_bug
    try:
        typer.main.get_command(app)(prog_name="cofactor")
    except SystemExit as error:
        if error.code == INTERRUPTED:  # skip the normal shutdown: it can crash in half-compiled kernels
            os._exit(INTERRUPTED)
        raise
    except KeyboardInterrupt:  # before the command started
        say("stopped")
        os._exit(INTERRUPTED)


def _exit(line: str, code: int) -> typer.Exit:
    """Print a line on stderr and return the exit to raise."""
    say(" ".join(line.split("\n")))
    return typer.Exit(code)


def _exit_code(error: BaseException) -> int:
    """Return the exit code of an expected error: 1 if it was caused by a system error, else 2."""
    cause = error.__cause__
    return OTHER_ERROR if isinstance(cause, OSError) and cause.errno in MACHINE_FAULTS else USER_ERROR


def _system_error(error: BaseException) -> typer.Exit:
    """Report a system error and return the exit to raise. A closed pipe is not reported: nobody reads it."""
    if not _is_stdout_error(error):
        return _exit(f"error: {_description(error)}", OTHER_ERROR)
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else the flush at exit fails again
    if isinstance(error, BrokenPipeError):
        return typer.Exit(OTHER_ERROR)
    return _exit(f"error: standard output cannot be written: {_description(error)}", OTHER_ERROR)


def _is_stdout_error(error: BaseException) -> bool:
    """Return whether standard output failed: errors of other files have a file name."""
    unwritable = (errno.EPIPE, errno.EBADF, *MACHINE_FAULTS)
    return isinstance(error, OSError) and error.filename is None and error.errno in unwritable


def _description(error: BaseException) -> str:
    if isinstance(error, MemoryError):
        return "there is not enough memory for this"
    if isinstance(error, OSError) and error.strerror:
        prefix = "" if error.filename is None else f"{printable(error.filename)}: "
        return f"{prefix}{error.strerror}"
    return str(error)


def _report_bug(error_type: type[BaseException], error: BaseException, traceback: Any) -> None:
    """Report an unexpected exception as a bug, in one line; COFACTOR_TRACEBACK=1 shows the traceback instead."""
    if os.environ.get("COFACTOR_TRACEBACK"):
        sys.__excepthook__(error_type, error, traceback)
        return
    summary = " ".join(f"{error_type.__name__}: {error}".split())
    say(f"error: this is a bug in cofactor ({summary}); please report it with the output of COFACTOR_TRACEBACK=1")
