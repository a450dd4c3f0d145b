"""Tests inside the environment of the boards (`make test`): the agent on the emulated board."""

from __future__ import annotations

import importlib.util

import pytest

# the main environment has no pynq, and cannot have it
collect_ignore_glob = [] if importlib.util.find_spec("pynq") else ["test_*.py"]


def pytest_configure(config: pytest.Config) -> None:
    for line in (
        "ignore:Pynq does not support the CPU Architecture:ResourceWarning",
        "ignore:No devices found:UserWarning",
        "ignore::DeprecationWarning:pynq.*",
        "ignore::DeprecationWarning:pkg_resources.*",
        "ignore:pkg_resources is deprecated:UserWarning",
        "ignore:.*event loop.*:DeprecationWarning",
    ):
        config.addinivalue_line("filterwarnings", line)
