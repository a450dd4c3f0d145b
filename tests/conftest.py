"""Shared by all tests: --slow, where the data are, a clean environment, noise of third parties."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parent.parent

# Warnings of ours are errors (pyproject); these come out of packages we only import.
THIRD_PARTY = [
    "ignore::DeprecationWarning:tensorflow.*",
    "ignore::DeprecationWarning:tensorflow_model_optimization.*",
    "ignore::DeprecationWarning:tf_keras.*",
    "ignore::UserWarning:tf_keras.*",
    "ignore::DeprecationWarning:qkeras.*",
    "ignore::SyntaxWarning:qkeras.*",
    "ignore::DeprecationWarning:hls4ml.*",
    "ignore::DeprecationWarning:ai_edge_litert.*",
    "ignore::DeprecationWarning:flatbuffers.*",
    "ignore::DeprecationWarning:google.protobuf.*",
    "ignore:Type google.*uses PyType_Spec with a metaclass:DeprecationWarning",
    "ignore:`np.*` is a deprecated alias:DeprecationWarning",
    "ignore:.*tf.lite.Interpreter is deprecated.*:UserWarning",
    "ignore:.*This process .* is multi-threaded, use of fork.*:DeprecationWarning",
]

# A shared two-core machine is no place for hypothesis's own deadlines.
settings.register_profile("bench", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("bench")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", default=False, help="also run tests marked slow")


def pytest_configure(config: pytest.Config) -> None:
    for line in THIRD_PARTY:
        config.addinivalue_line("filterwarnings", line)
    # Hash order must not decide what a child process of a test does.
    os.environ.setdefault("PYTHONHASHSEED", "0")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("MPLBACKEND", "Agg")
    # A test never needs the network; those of the download itself ask a server of their own.
    os.environ.setdefault("BENCH_OFFLINE", "1")
    shared = ROOT.parent / "shared" / "data"
    if shared.is_dir():
        os.environ.setdefault("BENCH_DATA_DIR", str(shared))

    # Started in a shell's background, the tests and their children would be deaf to Ctrl-C.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _stays_in_its_folder() -> Iterator[None]:
    """A test that leaves the process in another folder (hls4ml's compile changes it) is to blame itself."""
    before = Path.cwd()
    yield
    try:
        after = Path.cwd()
    except FileNotFoundError:
        after = None
    os.chdir(before)
    assert after == before, f"left in {after}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--slow"):
        return
    skip = pytest.mark.skip(reason="slow: run with --slow")
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(skip)


@pytest.fixture(autouse=True)
def _own_results_folder(_stays_in_its_folder: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The results folder of the person who runs the tests must not leak into them. (What `monkeypatch` has
    changed, the working folder too, is undone before the other fixture looks.)"""
    monkeypatch.delenv("BENCH_RESULTS", raising=False)


@pytest.fixture
def data_dir() -> Path:
    """Folder with the real data sets; the test is skipped where there is none."""
    folder = os.environ.get("BENCH_DATA_DIR")
    if not folder or not Path(folder).is_dir():
        pytest.skip("no data folder: set BENCH_DATA_DIR")
    return Path(folder)
