"""The code blocks of README.md and docs/ are run.

`yaml` blocks that start with `sweep:` must load; `python` blocks are executed; `console` blocks are
executed line by line where a line starts with `$ bench`. A block is left out only by a comment
`<!-- not run: reason -->` on the line before it. Pages whose commands follow from each other (`IN_ORDER`)
are run as a whole, elsewhere.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
IN_ORDER = {"first_board.md": "tests/e2e/test_first_board.py"}
FENCE = re.compile(r"(<!-- not run: (?P<why>.+?) -->\n)?^```(?P<kind>\w+)\n(?P<body>.*?)^```$", re.M | re.S)


def blocks(kind: str) -> list[object]:
    found: list[object] = []
    for page in (page for page in PAGES if page.name not in IN_ORDER):
        text = page.read_text(encoding="utf-8")
        for match in FENCE.finditer(text):
            if match["kind"] == kind and not match["why"]:
                line = text.count("\n", 0, match.start("body"))
                found.append(pytest.param(match["body"], id=f"{page.name}:{line}"))
    return found


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that sees the committed results, as a reader of the docs would."""
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "reference").symlink_to(ROOT / "results" / "reference")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("body", blocks("yaml"))
def test_sweep_files_in_the_docs_load(body: str, workplace: Path) -> None:
    from bench.sweep import load_sweep

    assert body.startswith("sweep:"), "a yaml block that is not a sweep file needs a `not run` comment"
    path = workplace / "sweep.yaml"
    path.write_text(body, encoding="utf-8")
    assert load_sweep(str(path)).cells


@pytest.mark.parametrize("body", blocks("python"))
def test_python_in_the_docs_runs(body: str, workplace: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", body],
        cwd=workplace,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("body", blocks("console"))
def test_commands_in_the_docs_run(body: str, workplace: Path) -> None:
    commands = [line[2:] for line in body.splitlines() if line.startswith("$ ")]
    assert commands, "a console block shows at least one `$ command`"
    for command in commands:
        words = shlex.split(command, comments=True)
        assert words[0] == "bench", f"only bench commands are run here: {command}"
        done = subprocess.run(
            [sys.executable, "-m", "bench", *words[1:]],
            cwd=workplace,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"


@pytest.mark.parametrize("page", list(IN_ORDER))
def test_pages_left_out_here_are_run_elsewhere(page: str) -> None:
    assert page in (ROOT / IN_ORDER[page]).read_text(encoding="utf-8")


def test_links_between_pages_lead_somewhere() -> None:
    broken = []
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            if "://" not in target and not (page.parent / target).exists():
                broken.append(f"{page.name}: {target}")
    assert not broken
