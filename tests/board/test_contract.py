"""The host's writer of jobs and reader of results against the agent."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from targets.pynq.exchange import jobs
from targets.pynq.exchange.results import read_result
from tests.board.jobs import FRAMES, OUTPUTS, Maker, network, run


def test_job_of_the_host_and_back(tmp_path: Path) -> None:
    maker = Maker(tmp_path)
    made = maker.overlay()
    x = np.load(maker.job / "data" / "x.npy")
    expected = network(x, 0.5)
    facts = ("interface", "clock_mhz", "cycles", "sanity", "exact")
    source = jobs.ItemSource(
        made["id"], "overlay", {name: maker.job / "files" / sha for name, sha in made["files"].items()},
        x, expected, expected.argmax(axis=1), {name: made[name] for name in facts},
    )  # fmt: skip
    protocol = jobs.protocol("quick", warmup_calls=5, calls=30)
    job = jobs.write_job(
        tmp_path / "host.tar.gz", [source], board="emulated", protocol=protocol, emulated=True
    )
    done = run(job.path, tmp_path)
    assert done.code == 0, done.said
    result = read_result(tmp_path / "result.tar.gz", job)
    item = result.file.items[made["id"]]
    assert result.missing == () and item.status == "ok" and result.file.origin == "modelled"
    assert item.accuracy is not None and (item.accuracy.n, item.accuracy.errors) == (FRAMES, 0)
    assert item.agreement is not None and item.agreement.n == FRAMES * OUTPUTS and item.agreement.bit_exact
    assert item.fit_execute is not None and item.phases["execute"].n == 30
