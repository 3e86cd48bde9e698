"""Other libraries, each in its own environment, measured on the same data as cofactor.

    python benchmarks/peers.py --install        make all environments
    python benchmarks/peers.py --run FOLDER     one line of JSON for each peer, on the interactions in FOLDER

FOLDER holds `u.npy`, `i.npy` (int32 row numbers) and `values.npy` (float32), sorted by (u, i). Where it also
has `test_u.npy`, `test_i.npy` and `test_values.npy`, LIBMF reports its error on them. The environments stand
in `benchmarks/peers-env/`, or where COFACTOR_PEERS says.
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

__all__ = ["PEERS", "Peer", "PeerError", "environment", "run"]

HERE = Path(__file__).absolute().parent

RECORD = "installed.json"
"""Written into an environment when it is complete."""

FORCED_KERNELS = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
"""Settings that hold OpenBLAS to one processor's kernels: a peer is measured with those it picks itself."""


class PeerError(RuntimeError):
    """A peer that could not be installed or did not finish."""


@dataclass(frozen=True)
class Peer:
    """What to install, which runner measures it, and how."""

    runner: str
    requirements: tuple[str, ...]
    settings: dict[str, str] = field(default_factory=dict)
    """Environment variables that the peer's makers recommend."""
    compiled_with: str = ""
    """Compiler flags tried first for a peer that has no wheel; pip's own are the fallback."""

    @property
    def wanted(self) -> list[str]:
        """What the environment has to be made from: made again where this changes."""
        return [*self.requirements, self.compiled_with]


PEERS: Mapping[str, Peer] = {
    "implicit": Peer(
        "implicit_als.py",
        ("implicit==0.7.3", "numpy==2.4.6", "scipy==1.17.1"),
        settings={"OPENBLAS_NUM_THREADS": "1"},  # implicit warns about anything else
    ),
    "irspack": Peer("irspack_ials.py", ("irspack==0.5.2", "numpy==2.4.6", "scipy==1.17.1")),
    "libmf": Peer(
        "libmf_sgd.py",
        ("libmf==0.9.2", "numpy==2.4.6", "scipy==1.17.1"),
        # without these, LIBMF runs its scalar loops, some 2.5 times slower than its makers' own build
        compiled_with="-O3 -march=native -DUSEAVX -DUSEOMP -fopenmp",
    ),
}


def environment(peer: str) -> Path:
    """The Python of the peer's environment, which is made first where it is missing, unfinished or outdated.

    Raises PeerError for an unknown peer and for an installation that fails.
    """
    spec = _spec(peer)
    home = Path(os.environ.get("COFACTOR_PEERS") or HERE / "peers-env").absolute() / peer
    python = home / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not python.exists() or _record(home).get("wanted") != spec.wanted:
        _install(peer, home, python)
    return python


def run(
    peer: str,
    data_folder: str | os.PathLike[str],
    *,
    factors: int = 64,
    iterations: int = 5,
    threads: int = 2,
    n: int = 10,
) -> dict[str, Any]:
    """What the peer's runner measured, in seconds and MiB; `compiled_with` is None where pip chose the flags.

    Raises PeerError for missing data and for a runner that stops; its own words are then on stderr.
    """
    spec, data = _spec(peer), Path(data_folder).absolute()
    missing = [name for name in ("u.npy", "i.npy", "values.npy") if not (data / name).exists()]
    if missing:
        raise PeerError(f"{data} has no {', '.join(missing)}: save the interactions' columns there with numpy.save")
    python = environment(peer)
    command = [str(python), "-E", str(HERE / "runners" / spec.runner), str(data)]
    for name, value in (("factors", factors), ("iterations", iterations), ("threads", threads), ("n", n)):
        command += [f"--{name}", str(value)]
    _say(f"{peer}: {factors} factors, {iterations} iterations, {threads} threads")
    clean = {name: value for name, value in os.environ.items() if name not in FORCED_KERNELS}
    done = subprocess.run(command, env=clean | spec.settings, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise PeerError(
            f"{peer} stopped with exit code {done.returncode}; its own words are above: {' '.join(command)}"
        )
    measured: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return measured | {"compiled_with": _record(python.parent.parent)["compiled_with"]}


def _spec(peer: str) -> Peer:
    if peer not in PEERS:
        raise PeerError(f"there is no peer {peer!r}; there are {', '.join(PEERS)}")
    return PEERS[peer]


def _install(peer: str, home: Path, python: Path) -> None:
    """Make the environment anew; the record is written last, so that an interrupted one is made again."""
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
    found: dict[str, Any] = json.loads(record.read_text()) if record.exists() else {}
    return found


def _call(command: list[str], **settings: str) -> None:
    done = subprocess.run(command, env=dict(os.environ) | settings, stdout=sys.stderr, check=False)
    if done.returncode != 0:
        raise PeerError(f"exit code {done.returncode} from: {' '.join(command)}")


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peers", nargs="*", metavar="PEER", help=f"of {', '.join(PEERS)}; all by default")
    parser.add_argument("--install", action="store_true", help="make the environments that are missing")
    parser.add_argument("--run", metavar="FOLDER", type=Path, help="measure on the interactions in FOLDER")
    for name, default in (("factors", 64), ("iterations", 5), ("threads", 2), ("n", 10)):
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args()
    if not given.install and given.run is None:
        parser.error("say --install, --run FOLDER or both")
    try:
        for peer in given.peers or PEERS:
            if given.install:
                print(environment(peer))
            if given.run is not None:
                asked = {name: getattr(given, name) for name in ("factors", "iterations", "threads", "n")}
                print(json.dumps(run(peer, given.run, **asked)), flush=True)
    except PeerError as problem:
        parser.exit(1, f"{problem}\n")


if __name__ == "__main__":
    main()
