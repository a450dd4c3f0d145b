"""A stand-in for the agent on the loopback board: good results without any hardware, slowly, and with faults
that `behave.json` in the home folder asks for."""

from __future__ import annotations

import fcntl
import json
import os
import sys
import time
from pathlib import Path
from typing import Any


def main() -> int:
    home = Path.home()
    behave: dict[str, Any] = json.loads((home / "behave.json").read_text())
    if "--check" in sys.argv:
        print(json.dumps(behave["check"]))
        return 0
    from targets.pynq.exchange.jobs import read_job
    from tests.board_files import make_result, write_result

    words = dict(zip(sys.argv[2::2], sys.argv[3::2], strict=True))
    work, out = Path(words["--work"]), Path(words["--out"])
    with (home / "board.lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            print(
                "agent: the board is taken: job 0123 of user ada runs since noon (process 7)", file=sys.stderr
            )
            return 3
        job = read_job(Path(sys.argv[1]))
        value, arrays = make_result(job)
        (work / "result" / "samples").mkdir(parents=True, exist_ok=True)
        done = work / "result" / "result.json"
        have = json.loads(done.read_text())["items"] if done.is_file() else {}
        with (home / "starts").open("a") as log:
            log.write(f"{len(have)}\n")
        for name, content in arrays.items():
            (work / "result" / name).write_bytes(content)
        for number, item in enumerate(list(value["items"]), 1):
            if item in have:
                continue
            print(f"measuring {item}", flush=True)
            time.sleep(60.0 if behave.get("slow_at") == number else behave.get("seconds", 0.0))
            if behave.get("kill_at") == number and not (home / "killed").exists():
                (home / "killed").write_text("")
                os.killpg(0, 9)
            if behave.get("crash_at") == number and not (home / "killed").exists():
                (home / "killed").write_text("")
                os.kill(os.getpid(), 9)
            if behave.get("kill_always") == number:
                os.killpg(0, 9)
            if behave.get("crash_always") == number:
                os.kill(os.getpid(), 9)
            if behave.get("full_at") == number:
                print("agent: [Errno 28] No space left on device; what was measured is kept", file=sys.stderr)
                return 1
            have[item] = value["items"][item]
            done.with_suffix(".new").write_text(json.dumps({**value, "items": have, "finished": None}))
            done.with_suffix(".new").replace(done)
        if behave.get("forge"):
            value["job"] = "0" * 64
        write_result(out, value, arrays)
        return int(behave.get("code", 0))


if __name__ == "__main__":
    sys.exit(main())
