"""Other libraries, each in its own environment, measured on the same data as cofactor.

    python -m benchmarks.peers --install [PEER ...]                   make the environments, all by default
    python -m benchmarks.peers --run PEER RUNNER FOLDER [--factors 32 ...]      one line of JSON

RUNNER is a file in `runners/`, without the .py, and lists its own options there. FOLDER holds `u.npy`, `i.npy` (int32
row numbers) and `values.npy` (float32), sorted by (u, i). Where it also has `test_u.npy`, `test_i.npy` and
`test_values.npy`, most runners report quality on them. The environments are in `benchmarks/peers-env/`, or in the
folder that COFACTOR_PEERS names.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["PEERS", "Peer", "PeerError", "arguments", "environment", "run"]

HERE = Path(__file__).absolute().parent

RECORD = "installed.json"
"""Written into an environment when it is complete."""

FORCED_KERNELS = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
"""Settings that hold OpenBLAS to one processor's kernels: a peer is measured with the kernels that it selects."""

THREAD_LIMITS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
"""Set to the threads of a runner, unless the peer has its own setting."""


class PeerError(RuntimeError):
    """A peer that could not be installed or did not finish."""


@dataclass(frozen=True)
class Peer:
    """An environment: its packages and the settings of its processes."""

    requirements: tuple[str, ...]
    settings: dict[str, str] = field(default_factory=dict)
    """Environment variables that the authors of the peer recommend."""
    compiled_with: str = ""
    """Compiler flags tried first for a peer that has no wheel; pip's own are the fallback."""

    @property
    def wanted(self) -> list[str]:
        """The requirements of the environment, which is created again if they change."""
        return [*self.requirements, self.compiled_with]


NUMERIC = ("numpy==2.4.6", "scipy==1.17.1")

PEERS: Mapping[str, Peer] = {
    "implicit": Peer(
        ("implicit==0.7.3", *NUMERIC),
        settings={"OPENBLAS_NUM_THREADS": "1"},  # implicit warns about anything else
    ),
    "irspack": Peer(("irspack==0.5.2", *NUMERIC)),
    "libmf": Peer(
        ("libmf==0.9.2", *NUMERIC),
        # without these, LIBMF runs its scalar loops, about 2.5 times slower than the build of its authors
        compiled_with="-O3 -march=native -DUSEAVX -DUSEOMP -fopenmp",
    ),
    "fastai": Peer(
        (
            "fastai==2.8.12",
            "fastcore==2.2.39",
            "fastprogress==1.1.6",
            "fasttransform==0.0.5",
            "torch==2.13.0",
            "torchvision==0.28.0",
            "pandas==3.1.1",
            *NUMERIC,
        )
    ),
    "myfm": Peer(("myfm==0.4.0", "pandas==3.1.1", *NUMERIC), settings={"TQDM_DISABLE": "1"}),
    "surprise": Peer(("scikit-surprise==1.1.5", "pandas==3.1.1", *NUMERIC)),
}


def environment(peer: str) -> Path:
    """Return the Python of the peer's environment, which is created if it is missing, unfinished or outdated.

    Raises PeerError for an unknown peer and for an installation that fails.
    """
    spec = _spec(peer)
    home = Path(os.environ.get("COFACTOR_PEERS") or HERE / "peers-env").absolute() / peer
    python = home / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not python.exists() or _record(home).get("wanted") != spec.wanted:
        _install(peer, home, python)
    return python


def run(
    peer: str, runner: str, data_folder: str | os.PathLike[str], *, threads: int = 2, **options: Any
) -> dict[str, Any]:
    """Return the measurements of `runners/{runner}.py` in the peer's environment, in seconds and MiB.

    `options` become its command line: `no_recommend=True` is `--no-recommend`, False or None is omitted, and any
    other value follows its name. `compiled_with` is None in the answer where pip chose the flags.

    Raises PeerError for an unknown peer or runner and for one that stops; its messages are then on stderr.
    """
    return _measure(peer, runner, data_folder, arguments(options), threads=threads)


def arguments(options: Mapping[str, Any]) -> list[str]:
    texts: list[str] = []
    for name, value in options.items():
        if value is None or value is False:
            continue
        texts.append(f"--{name.replace('_', '-')}")
        if value is not True:
            texts.append(str(value))
    return texts


def _measure(
    peer: str, runner: str, data_folder: str | os.PathLike[str], options: list[str], *, threads: int
) -> dict[str, Any]:
    spec, script = _spec(peer), HERE / "runners" / f"{runner}.py"
    if not script.exists():
        raise PeerError(f"there is no runner {runner!r} in {script.parent}")
    python = environment(peer)
    # -E: an environment of its own, whatever PYTHONPATH says
    command = [str(python), "-E", str(script), str(Path(data_folder).absolute()), "--threads", str(threads), *options]
    _say(f"{runner}: {threads} threads {' '.join(options)}".rstrip())
    clean = {name: value for name, value in os.environ.items() if name not in FORCED_KERNELS}
    limits = {name: str(threads) for name in THREAD_LIMITS}
    done = subprocess.run(command, env=clean | limits | spec.settings, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise PeerError(
            f"{runner} stopped with exit code {done.returncode}; its own words are above: {' '.join(command)}"
        )
    measured: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return measured | {"compiled_with": _record(python.parent.parent)["compiled_with"]}


def _spec(peer: str) -> Peer:
    if peer not in PEERS:
        raise PeerError(f"there is no peer {peer!r}; there are {', '.join(PEERS)}")
    return PEERS[peer]


def _install(peer: str, home: Path, python: Path) -> None:
    """Create the environment; the record is written last, so that an interrupted one is created again."""
    spec = PEERS[peer]
    _say(f"{peer}: installing {' '.join(spec.requirements)} into {home}")
    (home / RECORD).unlink(missing_ok=True)
    _call([sys.executable, "-m", "venv", "--clear", str(home)])
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    flags: str | None = spec.compiled_with or None
    if flags:
        try:
            # pip's cache does not know the flags a wheel was built with
            _call([*pip, "--no-cache-dir", *spec.requirements], CFLAGS=flags, CXXFLAGS=flags, LDFLAGS=flags)
        except PeerError:
            _say(f"{peer}: not with {flags}; once more with pip's own flags, which run slower")
            flags = None
    if flags is None:
        _call([*pip, *spec.requirements])
    (home / RECORD).write_text(json.dumps({"wanted": spec.wanted, "compiled_with": flags}))


def _record(home: Path) -> dict[str, Any]:
    record = home / RECORD
    record_content: dict[str, Any] = json.loads(record.read_text()) if record.exists() else {}
    return record_content


def _call(command: list[str], **settings: str) -> None:
    done = subprocess.run(command, env=dict(os.environ) | settings, stdout=sys.stderr, check=False)
    if done.returncode != 0:
        raise PeerError(f"exit code {done.returncode} from: {' '.join(command)}")


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    task = parser.add_mutually_exclusive_group(required=True)
    task.add_argument("--install", nargs="*", metavar="PEER", help=f"of {', '.join(PEERS)}")
    task.add_argument("--run", nargs=3, metavar=("PEER", "RUNNER", "FOLDER"))
    parser.add_argument("--threads", type=int, default=2)
    args, options = parser.parse_known_args()
    if options and not args.run:
        parser.error(f"only a runner takes {' '.join(options)}")
    try:
        if args.run:
            print(json.dumps(_measure(*args.run, options, threads=args.threads)))
        else:
            for peer in args.install or PEERS:
                print(environment(peer))
    except PeerError as problem:
        parser.exit(1, f"{problem}\n")


if __name__ == "__main__":
    main()
