"""The service section of the README: its commands run against a real service, and get the documented answers."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.long

README = Path(__file__).parents[2] / "README.md"


def commands() -> str:
    section = re.split(r"^## ", README.read_text(encoding="utf-8"), flags=re.MULTILINE)
    (service,) = [part for part in section if part.startswith("As a service\n")]
    return "\n".join(re.findall(r"```sh\n(.*?)```", service, flags=re.DOTALL))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def promises(script: str) -> list[list[str]]:
    """For each comment below a command, its pieces: texts that the output must contain, in this order."""
    lines = [line[2:] for line in script.splitlines() if line.startswith("# ")]
    return [[piece.strip() for piece in line.partition("  (")[0].split("...")] for line in lines]


@pytest.mark.skipif(shutil.which("curl") is None or shutil.which("bash") is None, reason="the README speaks curl")
def test_the_service_of_the_readme_answers_as_documented(tmp_path: Path) -> None:
    script = commands()
    first, rest = script.split("\n", 1)
    assert first.endswith('pip install -q ".[serve]"')
    here = f"{Path(sys.executable).parent}/"
    expected = promises(script)
    port = free_port()
    rest = rest.replace("127.0.0.1:8000", f"127.0.0.1:{port}").replace(".venv/bin/", here)
    process = subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", f"{rest}\nwait $!"],
        cwd=tmp_path,
        env={**os.environ, "COFACTOR_SERVE_PORT": str(port)},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert process.returncode == 0, process.stderr + (tmp_path / "serve.log").read_text()
    assert process.stderr == ""
    output = process.stdout
    assert output.startswith(f"model 1 is served at http://127.0.0.1:{port}\nadmin key (shown only once): ")
    at = 0
    for pieces in expected:
        for piece in pieces:
            assert piece in output[at:], (piece, output[at:])
            at = output.index(piece, at) + len(piece)
    lists = [line for line in output.splitlines() if line.startswith('{"model":1') and '"user":"196"' in line]
    assert '"item":"318"' in lists[0]
    assert '"item":"318"' not in lists[1]
    assert len(expected) == 7
