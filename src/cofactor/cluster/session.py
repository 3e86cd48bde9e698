"""Spark sessions: start one on a master, run code in it, and turn its errors into one sentence each."""

from __future__ import annotations

import logging
import os
import re
import shutil
import socket
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from cofactor.errors import ClusterError, CofactorError, MissingExtraError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

__all__ = ["LOCAL_MASTER", "spark_errors", "spark_session"]

LOCAL_MASTER = "local[*]"
"""Default master: this machine, with one thread per core."""

CONNECT_TIMEOUT = 5.0
"""Seconds to wait for a connection to a standalone master; Spark itself would retry for a minute."""

MASTER = re.compile(r"local(\[(\*|\d+)(,\d+)?\])?|spark://[^,]+(,[^,]+)*|yarn|k8s://.+")

LOG_SETTINGS = """\
rootLogger.level = warn
rootLogger.appenderRef.stderr.ref = stderr
appender.stderr.type = Console
appender.stderr.name = stderr
appender.stderr.target = SYSTEM_ERR
appender.stderr.layout.type = PatternLayout
appender.stderr.layout.pattern = %d{yy/MM/dd HH:mm:ss} %p %c{1}: %m%n%ex
"""

SETTINGS = {
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.sql.execution.arrow.pyspark.enabled": "true",
    "spark.sql.session.timeZone": "UTC",
    "spark.python.worker.reuse": "true",
}
"""Settings of every session; the settings of the caller take precedence."""

ONE_THREAD = (
    "COFACTOR_THREADS", "NUMBA_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "POLARS_MAX_THREADS"
)  # fmt: skip
"""Environment variables that limit a task to the one core that Spark assigns to it."""


@contextmanager
def spark_session(
    master: str = LOCAL_MASTER, *, settings: dict[str, str] | None = None, log: Path | None = None
) -> Iterator[SparkSession]:
    """Start a Spark session and stop it at the end; use the active session of this process if there is one.

    Parameters
    ----------
    master : str, optional
        Master URL: `local[N]` for N threads of this machine, `spark://HOST:PORT` for a standalone cluster, `yarn`, or
        `k8s://...`. Not used if a session is active.
    settings : dict of str to str, optional
        Settings of Spark, such as `{"spark.executor.memory": "8g"}`.
    log : Path, optional
        File for the messages of Spark. By default they are discarded at the end.

    Yields
    ------
    SparkSession
        Session in which only warnings are logged.

    Raises
    ------
    MissingExtraError
        If PySpark is not installed.
    ClusterError
        If Java is missing, or the master is invalid or cannot be reached, or if an action in the body fails.
    """
    session_class = _require_spark()
    if (active := session_class.getActiveSession()) is not None:
        with spark_errors():
            yield active
        return
    _require_java()
    _require_master(master)
    with TemporaryDirectory() as folder:
        log_settings = Path(folder, "log4j2.properties")
        log_settings.write_text(LOG_SETTINGS, encoding="utf-8")
        options = SETTINGS | {"spark.driver.extraJavaOptions": f"-Dlog4j.configurationFile={log_settings}"}
        options |= {f"spark.executorEnv.{name}": "1" for name in ONE_THREAD} | (settings or {})
        variables = dict.fromkeys(ONE_THREAD, "1") | {
            "PYSPARK_PYTHON": os.environ.get("PYSPARK_PYTHON", sys.executable)
        }
        builder = session_class.builder.master(master).appName("cofactor")
        for name, value in options.items():
            builder = builder.config(name, value)
        try:
            with spark_errors():
                with _stderr_in(log or Path(folder, "spark.log")), _environment(variables):
                    session = builder.getOrCreate()
                yield session
        finally:
            _stop_java()


@contextmanager
def spark_errors() -> Iterator[None]:
    """Replace errors of Spark by one sentence, without the frames of the Java virtual machine.

    Raises
    ------
    ClusterError
        If Spark raises an error in the body. An error that cofactor raises in a task keeps its class.
    """
    _require_spark()
    from py4j.protocol import Py4JError
    from pyspark.errors import PySparkException

    try:
        yield
    except (PySparkException, Py4JError, ConnectionError) as error:
        raise _one_sentence(error) from None


def _require_spark() -> type[SparkSession]:
    """Return the class of sessions; raise MissingExtraError if PySpark is not installed."""
    try:
        from pyspark.sql import SparkSession
    except ImportError:
        raise MissingExtraError('this needs Apache Spark: pip install "cofactor[spark]"') from None
    warnings.filterwarnings("ignore", "PySpark does not yet fully support pandas", FutureWarning)  # it is not used here
    logging.getLogger("SQLQueryContextLogger").setLevel(logging.CRITICAL)  # it repeats errors with their Java frames
    return SparkSession


def _require_java() -> None:
    """Raise ClusterError if there is no Java runtime."""
    home = os.environ.get("JAVA_HOME")
    if shutil.which("java" if home is None else str(Path(home, "bin", "java"))) is None:
        place = "on the PATH" if home is None else f"in JAVA_HOME ({home})"
        raise ClusterError(f"Spark needs Java 17 or later, and there is none {place}: install openjdk-17-jre-headless")


def _require_master(master: str) -> None:
    """Raise ClusterError if the master is not valid, or if none of its hosts accepts connections."""
    if not MASTER.fullmatch(master):
        raise ClusterError(f"master must be local[N], spark://HOST:PORT, yarn or k8s://..., not {master!r}")
    if not master.startswith("spark://"):
        return
    problems = []
    for address in master.removeprefix("spark://").split(","):
        host, _, port = address.rpartition(":")
        if not host or not port.isdigit():
            raise ClusterError(f"master must have the form spark://HOST:PORT, not {master!r}")
        try:
            socket.create_connection((host, int(port)), timeout=CONNECT_TIMEOUT).close()
            return
        except (OSError, OverflowError) as error:
            problems.append(f"{address}: {getattr(error, 'strerror', None) or error}")
    raise ClusterError(f"the Spark master cannot be reached ({'; '.join(problems)})")


@contextmanager
def _stderr_in(path: Path) -> Iterator[None]:
    """Let processes that are started in the body write their standard error to a file."""
    sys.stderr.flush()
    saved = os.dup(2)
    with path.open("ab") as file:
        os.dup2(file.fileno(), 2)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(saved, 2)
        os.close(saved)


@contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    """Set environment variables for processes that are started in the body."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _stop_java() -> None:
    """Stop the Java process, so that the next session can have other settings of its memory."""
    from pyspark import SparkContext

    gateway = SparkContext._gateway
    if gateway is None:
        return
    if SparkContext._active_spark_context is not None:
        SparkContext._active_spark_context.stop()
    gateway.shutdown()
    process = getattr(gateway, "proc", None)
    if process is not None:
        process.stdin.close()
        process.wait(timeout=30)
    SparkContext._gateway = SparkContext._jvm = None


def _one_sentence(error: Exception) -> CofactorError:
    """Return an error with the cause of an error of Spark."""
    text = str(error)
    if own := re.search(r"cofactor\.errors\.(\w+): (.*)", text):
        from cofactor import errors

        return getattr(errors, own[1], ClusterError)(own[2].strip())
    for pattern, message in CAUSES.items():
        if match := re.search(pattern, text):
            return ClusterError(message.format(*(group.strip() for group in match.groups())))
    lines = [line.strip() for line in text.splitlines() if line.strip()] or [type(error).__name__]
    causes = [line for line in lines if line.startswith("Caused by: ") or re.match(r"[\w.]+(Error|Exception): ", line)]
    cause = re.sub(r"^(Caused by: )?([\w.$]+(Exception|Error): )*", "", (causes or lines)[-1 if causes else 0])
    return ClusterError(f"Spark failed: {cause.split(' SQLSTATE: ')[0]}")


CAUSES = {
    r"\[PATH_NOT_FOUND\] Path does not exist: (\S+?)\.?(?: SQLSTATE|\s|$)": "{0} does not exist",
    r"FileNotFoundException: File (?:does not exist: )?(\S+)": "{0} was removed while it was read",
    r"column: \[(\w+)\], physicalType": "the column {0} has different types in different files; write it with one type",
    r"No space left on device|Disk quota exceeded": "the disk is full; free space in the folders of Spark and "
    "of the output, or choose others",
    r"java\.lang\.OutOfMemoryError": "Spark ran out of memory; raise spark.driver.memory or spark.executor.memory",
    r"Java gateway process exited": "Java did not start; Spark needs Java 17 or later",
    r"(?:Master removed our application|All masters are unresponsive)[^\n]*": "the Spark master ended the application",
    r"Answer from Java side is empty|Error while (?:sending or )?receiving|Connection refused": "the Java process of "
    "Spark has ended; its log has the reason",
    r"No suitable driver": "Spark has no JDBC driver for this URL; pass its file in the setting spark.jars",
}
"""Messages by the pattern of an error's text; the first that matches is used."""
