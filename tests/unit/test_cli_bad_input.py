"""Bad input of every kind, given on the command line: one message that names the place, exit code not 0."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.cli.main import run_cli
from bench.errors import ConfigError
from bench.sweep import load_sweep
from tests import toy
from tests.synthetic import KINDS, build
from tests.tflite_maker import dense

SWEEP = """
models: [toy]
targets: [toy]
seeds: [0]
protocol: off
variants: [{name: baseline, trunk: [toy_train]}, {name: pruned, base: baseline, then: [toy_prune]}]
"""


@pytest.fixture
def say(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    """Exit code and message of a command; `file` stands for the folder of the test."""
    toy.activate(monkeypatch, tmp_path)
    monkeypatch.chdir(tmp_path)

    def say(*arguments: str) -> tuple[int, str]:
        code = run_cli(arguments)
        said = capsys.readouterr().err
        assert "Traceback" not in said and "unexpected" not in said, said
        return code, said

    return say


# -- sweep files: nothing is begun ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("models: [toy]", "models: [toi]", "s.yaml:2: models[0]: unknown model 'toi'\n  Did you mean 'toy'"),
        ("targets: [toy]", "targets: [tou]", "s.yaml:3: targets[0]: unknown target 'tou'\n  Did you mean"),
        ("toy_prune", "toy_prun", "s.yaml:6: variants[1].then[0]: unknown step 'toy_prun'\n  Did you mean"),
        ("base: baseline", "base: basline", "s.yaml:6: variants[1].base: unknown variant 'basline'\n  Did"),
        ("[toy_prune]", "[{toy_prune: {sparsty: 1}}]", "Did you mean 'sparsity'"),
        ("[toy_prune]", "[{toy_prune: {sparsity: much}}]", "s.yaml:6: variants[1].then[0]"),
        ("seeds: [0]", "seeds: zero", "s.yaml:4: seeds: a whole number"),
        ("trunk: [toy_train]", "trunk: []", "s.yaml:6: variants[0]: variant 'baseline' has an empty chain"),
        ("base: baseline", "base: pruned", "in a circle: pruned → pruned"),
        ("seeds: [0]", "models: [toy]", "s.yaml:4: key 'models' again (first in line 2)"),
        ("targets: [toy]", "targets: [keras]", "s.yaml: nothing of this sweep can run"),
        ("protocol: off", "protocol: [", "s.yaml:7: not YAML"),
    ],
)
def test_sweep_files(
    old: str,
    new: str,
    words: str,
    say: Callable[..., tuple[int, str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert old in SWEEP
    (tmp_path / "s.yaml").write_text(SWEEP.replace(old, new, 1))

    def begun(*_: object, **__: object) -> None:
        raise AssertionError("work was begun")

    monkeypatch.setattr("bench.run.run.run_sweep", begun)
    code, said = say("run", "s.yaml")
    assert code == 2 and words in said
    assert {path.name for path in tmp_path.iterdir()} == {"s.yaml"}


def test_a_folder_is_no_sweep_file(say: Callable[..., tuple[int, str]], tmp_path: Path) -> None:
    assert say("run", str(tmp_path)) == (2, f"bench: {tmp_path}: a folder, not a sweep file\n")


# -- numbers that are none -----------------------------------------------------------------------


@pytest.mark.parametrize("seconds", ["nan", "inf", "0", "-1", "1e300", "soon"])
@pytest.mark.parametrize(
    "command",
    [
        "run digits --timeout",
        "plan digits --timeout",
        "measure a.tflite --timeout",
        "build digits_mlp/qap --time-limit",
        "board run emulated job.tar.gz -o x --timeout",
    ],
)
def test_time_limits_that_never_come(command: str, seconds: str, say: Callable[..., tuple[int, str]]) -> None:
    code, said = say(*command.split(), seconds)
    assert code == 2 and f"Invalid value for '{command.split()[-1]}'" in said


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), 0.0])
def test_time_limits_of_other_programs(seconds: float) -> None:
    with pytest.raises(ConfigError, match=r"options: --timeout: .* is not in \[1"):
        load_sweep("digits", timeout=seconds)


# -- the results folder and other places to write to ---------------------------------------------


def test_folders_that_cannot_be_written(say: Callable[..., tuple[int, str]], tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(SWEEP)
    (tmp_path / "file").write_text("mine")
    code, said = say("--results", "file", "run", "s.yaml")
    assert code == 2 and "file" in said
    code, said = say("--results", "file/below", "run", "s.yaml")
    assert code == 2 and "file/below/records/build: cannot be read (Not a directory)" in said
    assert (tmp_path / "file").read_text() == "mine" and not (tmp_path / "toy.log").exists()
    assert say("--results", "r", "run", "s.yaml")[0] == 0
    for arguments in (("report", "s", "-o", "file/x"), ("export", "s", "-o", "file/x.csv")):
        code, said = say("--results", "r", *arguments)
        assert code == 2 and "file" in said, arguments
    assert (tmp_path / "file").read_text() == "mine"


@pytest.fixture
def results(tmp_path: Path) -> Path:
    build(tmp_path / "r", variants={"baseline": KINDS["baseline"]}, seeds=(0,), items=50)
    return tmp_path / "r"


def test_a_pipe_is_written_to_and_stays_one(
    results: Path, say: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    """As `-o /dev/stdout` is: a file in its place would be the end of it for everybody."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()), daemon=True)
    reader.start()
    code, said = say("--results", str(results), "export", "synthetic", "-o", str(pipe))
    reader.join(10)
    assert code == 0 and said == f"{pipe}\n"
    assert stat.S_ISFIFO(pipe.lstat().st_mode)
    assert read[0].startswith("sweep,model,variant")


def test_a_link_stays_a_link(results: Path, say: Callable[..., tuple[int, str]], tmp_path: Path) -> None:
    (tmp_path / "link.csv").symlink_to(tmp_path / "real.csv")
    for _ in range(2):
        assert say("--results", str(results), "export", "synthetic", "-o", "link.csv")[0] == 0
        assert (tmp_path / "link.csv").is_symlink()
        assert (tmp_path / "real.csv").read_text().startswith("sweep,model,variant")


# -- files of networks and of data ---------------------------------------------------------------

GOOD = {"x": np.zeros((4, 8), np.float32), "y": np.zeros(4, np.int64)}


@pytest.fixture
def files(say: Callable[..., tuple[int, str]], tmp_path: Path) -> Callable[..., tuple[int, str]]:
    """`say` where good and bad files of both kinds lie."""
    pytest.importorskip("ai_edge_litert")
    (tmp_path / "good.tflite").write_bytes(dense())
    (tmp_path / "cut.tflite").write_bytes(dense()[:400])
    (tmp_path / "foreign.tflite").write_bytes(b"PK\x03\x04" + bytes(500))
    (tmp_path / "empty.tflite").write_bytes(b"")
    np.savez(tmp_path / "good.npz", **GOOD)  # type: ignore[arg-type]
    np.savez(tmp_path / "wide.npz", x=np.zeros((4, 9), np.float32), y=GOOD["y"])
    whole = (tmp_path / "good.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "foreign.npz").write_bytes(b"hello")
    hostile: dict[str, Any] = {"x": GOOD["x"], "y": np.array([print, 1, 2, 3], dtype=object)}
    np.savez(tmp_path / "pickled.npz", **hostile)
    return say


@pytest.mark.parametrize("name", ["cut.tflite", "foreign.tflite", "empty.tflite", "gone.tflite"])
def test_a_file_alone_that_is_no_network(name: str, files: Callable[..., tuple[int, str]]) -> None:
    code, said = files("measure", name, "--quick")
    assert code == 2 and name in said


@pytest.mark.parametrize("name", ["cut.npz", "foreign.npz", "pickled.npz", "wide.npz", "gone.npz"])
def test_data_that_are_none(name: str, files: Callable[..., tuple[int, str]]) -> None:
    code, said = files("measure", "good.tflite", "--data", name)
    where = "--data: inputs of shape [9] do not fit" if name == "wide.npz" else f"bench: {name}: "
    assert code == 2 and where in said


def test_a_damaged_file_among_others_costs_only_itself(
    files: Callable[..., tuple[int, str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from bench.core.cells import Protocol
    from bench.workflows import measure_files as measure

    told: list[str] = []
    monkeypatch.setattr("click.echo", lambda text="", **_: told.append(str(text)))
    monkeypatch.setattr(measure, "PROTOCOL", Protocol("one", 1, 0.0, 1, 3, 0.0))
    code, _ = files("measure", "good.tflite", "cut.tflite", "--data", "good.npz")
    (table,) = [text for text in told if "invoke" in text]
    assert code == 1
    assert "cut.tflite failed: " in table and "good.tflite" in table and "100.00 [" not in table
