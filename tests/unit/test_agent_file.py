"""The agent as one file: the same bytes whoever packs it, and it runs with nothing else beside it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from targets.pynq.agent_file import NAME, PACKAGE, agent_bytes, agent_path, is_agent
from tests.board_files import make_job


def test_the_same_modules_give_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "agent"
    shutil.copytree(PACKAGE, other)
    for path in other.glob("*.py"):
        path.chmod(0o600)
        os.utime(path, (1, 1))
    (other / "__pycache__").mkdir(exist_ok=True)
    monkeypatch.setenv("TZ", "Pacific/Auckland")
    time.tzset()
    try:
        assert agent_bytes(other) == agent_bytes() == agent_path().read_bytes()
    finally:
        monkeypatch.undo()
        time.tzset()
    (other / "job.py").write_text((other / "job.py").read_text() + "\n")
    assert agent_bytes(other) != agent_bytes()


def test_it_is_told_from_other_files() -> None:
    ours = agent_bytes()
    assert is_agent(ours)
    for other in (
        b"",
        b"print('mine')",
        ours[:1000],
        b"PK" + ours,
        ours.replace(b"agent.main", b"agent.mine"),
    ):
        assert not is_agent(other)


def test_it_runs_alone(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(agent_bytes())
    job = make_job(tmp_path / "job.tar.gz")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-I", NAME, *arguments]
        return subprocess.run(
            line, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False
        )

    done = run("--check", "--lock", "lock", "--hwmon", "none")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["sha256"] == job_digest(tmp_path / NAME) and told["version"]
    done = run(job.path.name)
    assert done.returncode == 2 and "the job is for the emulated board: --emulator" in done.stderr
    assert run("--help").stdout.startswith("usage: agent.pyz")


def job_digest(path: Path) -> str:
    import hashlib

    return hashlib.sha256(path.read_bytes()).hexdigest()
