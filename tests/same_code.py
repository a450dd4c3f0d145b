"""Which code has changed since its results were put on record, and the decision whether they still stand.

    python -m tests.same_code             # what has changed
    python -m tests.same_code keep NAME…  # rewritten only: its results stand (all that changed: keep --all)
    python -m tests.same_code drop NAME…  # its results may differ: they are made again

A decision belongs into the commit that changes the code. Keep what a test shows to give the same files and
numbers as before; drop everything else.
"""

from __future__ import annotations

import json
import sys

from bench.core import code
from bench.core.registry import DATASETS, MODELS, STEPS, TARGETS
from bench.run import keys
from targets.pynq.target import AGENT, EMULATED

REGISTRIES = {"model": MODELS, "data set": DATASETS, "step": STEPS, "target": TARGETS}


def places() -> dict[str, tuple[str, ...]]:
    """Where the code of each thing starts whose identity is part of a key; what ships only."""
    found = {
        f"{kind} {name}": (registry.place(name),)  # type: ignore[attr-defined]
        for kind, registry in REGISTRIES.items()
        for name in registry.names()  # type: ignore[attr-defined]
        if registry.place(name).startswith(("bench.", "models.", "targets."))  # type: ignore[attr-defined]
    }
    return found | {
        "scoring": (keys.SCORING,),
        "timing": (keys.TIMING,),
        "program synthesis_child": ("targets.fpga.rtl.synthesis_child",),
        "agent": AGENT,
        "agent, emulated": EMULATED,
    }


def changed() -> dict[str, str]:
    """Digest of today's code of all whose entry is that of other code."""
    where = places()
    today = {name: code.digest(*where[name]) for name in code.same_code() if name in where}
    return {name: digest for name, digest in today.items() if digest != code.same_code()[name]["code"]}


def decide(keep: bool, names: list[str]) -> None:
    entries, new = code.same_code(), changed()
    for name in new if names == ["--all"] else names:
        if name not in new:
            sys.exit(f"{name!r} has not changed. Changed: {', '.join(new) or 'nothing'}.")
        if keep:
            entries[name]["code"] = new[name]
        else:
            del entries[name]
    code.SAME_CODE.write_text(json.dumps(entries, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    match sys.argv[1:]:
        case []:
            print("\n".join(changed()) or "nothing has changed")
        case ["keep" | "drop" as what, *names] if names:
            decide(what == "keep", names)
        case _:
            sys.exit(str(__doc__))
