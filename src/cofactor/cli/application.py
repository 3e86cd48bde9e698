"""Typer application: register the commands, and report expected errors with one line and an exit code.

Neither this module nor the command modules import heavy packages at the top level, so that `--help` is instant.
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
from cofactor.cli.import_table import import_table
from cofactor.cli.models import models
from cofactor.cli.onboard import onboard
from cofactor.cli.operations import backup, doctor, key, restore, trainer
from cofactor.cli.plan import plan
from cofactor.cli.predict import predict
from cofactor.cli.recommend import recommend
from cofactor.cli.report import report
from cofactor.cli.serve import serve
from cofactor.cli.show import show
from cofactor.cli.similar import similar
from cofactor.cli.streams import log_to_stderr, open_streams, print_message, printable
from cofactor.cli.tune import tune
from cofactor.errors import CofactorError

__all__ = ["app", "run"]

HELP = ["-h", "--help"]
USER_ERROR, OTHER_ERROR, INTERRUPTED = 2, 1, 130
SYSTEM_ERRNOS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.EMFILE, errno.ENOMEM)
"""System errors that the user did not cause, such as a full disk; they exit with code 1 instead of 2."""


class OneLineErrorGroup(TyperGroup):
    """Command group that reports expected errors with one line on stderr, `error: ...`, and an exit code."""

    def main(self, *args: Any, **options: Any) -> Any:
        """Run the command line with logging to stderr, and report failures to write output as errors.

        Parameters
        ----------
        *args, **options
            Arguments for `TyperGroup.main`.

        Returns
        -------
        Any
            Return value of `TyperGroup.main`.
        """
        with log_to_stderr():
            try:
                try:
                    return super().main(*args, **options)
                finally:
                    sys.stdout.flush()
            except OSError as error:  # while printing the help, or while flushing buffered output
                sys.exit(_system_error(error).exit_code)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments; `--version` and `COMMAND --help` bypass typer's option parser, which takes 0.1 s.

        Parameters
        ----------
        ctx : typer.Context
            Context for the command line.
        args : list of str
            Arguments as typed by the user.

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
        """Run the command; report expected errors and system errors as a one-line message and an exit code.

        Parameters
        ----------
        ctx : typer.Context
            Context for the command.

        Returns
        -------
        Any
            Return value of the command.

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


EMPTY_ALLOWED = ("value", "time", "weight")
"""Options for column names that may be empty, in which case the table is read without the column."""


class SingleValueCommand(TyperCommand):
    """Command that rejects empty option values (except `EMPTY_ALLOWED`) and repeated single-value options."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the options of the command.

        Parameters
        ----------
        ctx : typer.Context
            Context for the command.
        args : list of str
            Arguments as typed by the user.

        Returns
        -------
        list of str
            The remaining arguments.

        Raises
        ------
        BadParameter
            If an option is empty, or if a single-value option is repeated.
        """
        options, _, order = self.make_parser(ctx).parse_args(args=list(args))
        parameters: list[Any] = self.get_params(ctx)
        for parameter in parameters:
            values = _as_list(options.get(parameter.name))
            is_empty = any(isinstance(value, str) and not value.strip() for value in values)
            if is_empty and parameter.name not in EMPTY_ALLOWED:
                raise BadParameter("must not be empty", ctx=ctx, param=parameter)
            repeatable = parameter.multiple or (getattr(parameter, "is_flag", False) and not parameter.secondary_opts)
            if not repeatable and order.count(parameter) > 1:
                raise BadParameter("is given more than once but takes only one value", ctx=ctx, param=parameter)
        return super().parse_args(ctx, args)


def _as_list(values: Any) -> list[Any]:
    return list(values) if isinstance(values, (list, tuple)) else [values]


def _option_names(error: Any) -> str:
    """Return the name of the option or argument in a usage error, as typed by the user."""
    if error.param is None:
        return str(error.param_hint or "the command line")
    is_option = error.param.param_type_name == "option"
    return "/".join(error.param.opts) if is_option else str(error.param.metavar)


def _unwrap_paragraphs(command: Any) -> str:
    """Join each paragraph of a docstring into one line for the terminal to wrap, and escape brackets for rich."""
    text = str(command.__doc__).replace("[", r"\[")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))


app = typer.Typer(
    cls=OneLineErrorGroup,
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
    "Data": [fetch, import_table, describe, plan],
    "Train and evaluate": [models, fit, evaluate, compare, tune, report],
    "Use a model": [show, recommend, predict, explain, similar, onboard],
    "Run a service": [serve, key, trainer, doctor, backup, restore],
}
for panel, commands in COMMANDS.items():
    for command in commands:
        app.command(
            "import" if command is import_table else None,
            cls=SingleValueCommand, help=_unwrap_paragraphs(command), rich_help_panel=panel,
            context_settings={"ignore_unknown_options": command is explain},  # an ID may begin with a dash
        )(command)  # fmt: skip


def run() -> None:
    """Run the command line and exit with 0 on success, 2 on a user error, 1 on any other error, 130 on an interrupt."""
    open_streams()
    sys.excepthook = _report_bug
    try:
        typer.main.get_command(app)(prog_name="cofactor")
    except SystemExit as error:
        if error.code == INTERRUPTED:  # skip the normal shutdown: it can crash in half-compiled kernels
            os._exit(INTERRUPTED)
        raise
    except KeyboardInterrupt:  # before the command started
        print_message("stopped")
        os._exit(INTERRUPTED)


def _exit(line: str, code: int) -> typer.Exit:
    """Print a line on stderr and return the `typer.Exit` to raise."""
    print_message(" ".join(line.split("\n")))
    return typer.Exit(code)


def _exit_code(error: BaseException) -> int:
    """Return the exit code for an expected error: 1 if it was caused by a system error, else 2."""
    cause = error.__cause__
    return OTHER_ERROR if isinstance(cause, OSError) and cause.errno in SYSTEM_ERRNOS else USER_ERROR


def _system_error(error: BaseException) -> typer.Exit:
    """Report a system error, except for a closed pipe, and return the `typer.Exit` to raise."""
    if not _is_stdout_error(error):
        return _exit(f"error: {_description(error)}", OTHER_ERROR)
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else the flush at exit fails again
    if isinstance(error, BrokenPipeError):
        return typer.Exit(OTHER_ERROR)
    return _exit(f"error: standard output cannot be written: {_description(error)}", OTHER_ERROR)


def _is_stdout_error(error: BaseException) -> bool:
    """Return whether an error concerns standard output; errors on other files include a file name."""
    unwritable = (errno.EPIPE, errno.EBADF, *SYSTEM_ERRNOS)
    return isinstance(error, OSError) and error.filename is None and error.errno in unwritable


def _description(error: BaseException) -> str:
    if isinstance(error, MemoryError):
        return "not enough memory"
    if isinstance(error, OSError) and error.strerror:
        prefix = "" if error.filename is None else f"{printable(error.filename)}: "
        return f"{prefix}{error.strerror}"
    return str(error)


def _report_bug(error_type: type[BaseException], error: BaseException, traceback: Any) -> None:
    """Report an unexpected exception as a bug in one line, or show the traceback if COFACTOR_TRACEBACK=1."""
    if os.environ.get("COFACTOR_TRACEBACK"):
        sys.__excepthook__(error_type, error, traceback)
        return
    summary = " ".join(f"{error_type.__name__}: {error}".split())
    print_message(
        f"error: this is a bug in cofactor ({summary}); please report it with the output of COFACTOR_TRACEBACK=1"
    )
