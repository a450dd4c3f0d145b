"""The agent as one file, `agent.pyz`: a zip application that Python 3.8 and later run.

The same modules give the same bytes, whatever their times and modes and whoever packs them.
"""

from __future__ import annotations

import atexit
import io
import shutil
import tempfile
import zipfile
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent / "agent"
NAME = "agent.pyz"
#: first line of the file: started by its name, it runs on the board's Python
_SHEBANG = b"#!/usr/bin/env python3\n"
_MAIN = "import sys\n\nfrom agent.main import main\n\nsys.exit(main())\n"
#: zip has no earlier time
_EPOCH = (1980, 1, 1, 0, 0, 0)


def agent_bytes(package: Path = PACKAGE) -> bytes:
    """Contents of `agent.pyz`, made of the modules of a package."""
    files = {f"agent/{path.name}": path.read_text(encoding="utf-8") for path in package.glob("*.py")}
    stream = io.BytesIO()
    stream.write(_SHEBANG)
    with zipfile.ZipFile(stream, "a", zipfile.ZIP_STORED) as archive:
        for name, text in sorted({**files, "__main__.py": _MAIN}.items()):
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.create_system, entry.external_attr = 3, 0o644 << 16
            archive.writestr(entry, text.encode())
    return stream.getvalue()


def is_agent(content: bytes) -> bool:
    """Whether a file is an agent, of this version or another."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return content.startswith(_SHEBANG) and archive.read("__main__.py") == _MAIN.encode()
    except (KeyError, zipfile.BadZipFile):
        return False


@cache
def agent_path() -> Path:
    """`agent.pyz` of this version, in a folder that is removed when this process ends."""
    folder = tempfile.mkdtemp(prefix="edge-bench-agent-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = Path(folder) / NAME
    path.write_bytes(agent_bytes())
    return path
