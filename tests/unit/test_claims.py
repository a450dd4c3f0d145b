"""Claims: one holder at a time, the dead hold nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.store import claims
from bench.store.claims import Claims

KEY = "ab" * 32


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "claims"


def test_only_one_holder_until_it_is_released(folder: Path) -> None:
    first, second = Claims(folder), Claims(folder)
    assert first.acquire(KEY) and not second.acquire(KEY) and not first.acquire(KEY)
    second.release(KEY)  # not its own
    assert not second.acquire(KEY)
    first.release(KEY)
    assert second.acquire(KEY)
    second.close()
    assert list(folder.glob("*.claim")) == []


def test_the_claim_of_another_is_not_given_back(folder: Path) -> None:
    """After a pause so long that another process took it over."""
    slow = Claims(folder)
    assert slow.acquire(KEY)
    place = folder / f"{KEY}.claim"
    place.write_text(json.dumps({**json.loads(place.read_text()), "token": "another"}))
    slow.close()
    assert json.loads(place.read_text())["token"] == "another"


def test_a_claim_that_another_took_over_first_stays_its_own(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Claims(folder)
    assert first.acquire(KEY)
    before = (folder / f"{KEY}.claim").read_text()
    looks = iter([True, False])  # stale at the first look; taken over before the second
    monkeypatch.setattr(Claims, "_stale", lambda *_: next(looks))
    assert not Claims(folder).acquire(KEY)
    assert (folder / f"{KEY}.claim").read_text() == before
    first.close()


def test_many_processes_race_for_one_claim(folder: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from bench.store.claims import Claims\n"
        "c = Claims(Path(sys.argv[1])); print(int(c.acquire(sys.argv[2])), flush=True); sys.stdin.read()"
    )
    children = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(folder), KEY], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        for _ in range(4)
    ]
    try:
        assert sorted(child.stdout.readline() for child in children if child.stdout) == [b"0\n"] * 3 + [
            b"1\n"
        ]
    finally:
        for child in children:
            child.kill()
            child.communicate()
    # The holder was killed: its claim is stale at once, and again only one gets it.
    claim = Claims(folder)
    assert not claim.living()
    assert claim.acquire(KEY) and not Claims(folder).acquire(KEY)
    claim.close()


def write(folder: Path, **fields: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{KEY}.claim"
    own = {
        "pid": os.getpid(),
        "start": claims.process_start(os.getpid()),
        "host": claims.host_identity(),
        "token": "t",
    }
    path.write_text(json.dumps(own | fields))
    return path


def test_a_claim_whose_process_id_was_given_to_another_is_stale(folder: Path) -> None:
    write(folder)
    assert not Claims(folder).acquire(KEY)
    write(folder, start="1")
    claim = Claims(folder)
    assert claim.acquire(KEY)
    claim.close()


def test_a_process_that_has_ended_but_was_not_waited_for_is_gone() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    try:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert claims.process_start(process.pid) is None
    finally:
        process.wait()


def test_a_claim_from_before_the_last_boot_is_stale(folder: Path) -> None:
    host, *rest = claims.host_identity().split("/")
    write(folder, host="/".join([host, "another-boot", *rest[1:]]))
    claim = Claims(folder)
    assert claim.acquire(KEY)
    claim.close()


def test_a_claim_of_another_host_counts_as_long_as_its_heart_beats(folder: Path) -> None:
    path = write(folder, host="elsewhere/boot/ns")
    claim = Claims(folder)
    assert not claim.acquire(KEY)
    old = path.stat().st_mtime - claims.STALE_SECONDS - 1
    os.utime(path, (old, old))
    assert claim.acquire(KEY)
    claim.close()


def test_a_damaged_claim_counts_until_it_is_old(folder: Path) -> None:
    path = write(folder)
    path.write_text("{")
    claim = Claims(folder)
    assert not claim.acquire(KEY)
    os.utime(path, (0, 0))
    assert claim.acquire(KEY)
    claim.close()


def test_the_heartbeat_touches_what_is_held(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    monkeypatch.setattr(claims, "HEARTBEAT_SECONDS", 0.01)
    claim = Claims(folder)
    assert claim.acquire(KEY)
    path = folder / f"{KEY}.claim"
    os.utime(path, (0, 0))
    for _ in range(500):
        if path.stat().st_mtime > 0:
            break
        time.sleep(0.01)
    assert path.stat().st_mtime > 0
    claim.close()


def test_without_hard_links_a_claim_still_has_one_holder(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*_: object) -> None:
        raise PermissionError("no hard links here")

    monkeypatch.setattr(os, "link", no_links)
    first, second = Claims(folder), Claims(folder)
    assert first.acquire(KEY) and not second.acquire(KEY)
    first.close()


def test_a_host_is_shared_by_builds_and_held_alone_by_measurements(folder: Path) -> None:
    first, second = Claims(folder), Claims(folder)
    with first.host(exclusive=False) as held, second.host(exclusive=False) as also:
        assert held and also
        with Claims(folder).host(exclusive=True) as alone:
            assert not alone
    with first.host(exclusive=True) as alone, second.host(exclusive=False) as held:
        assert alone and not held
