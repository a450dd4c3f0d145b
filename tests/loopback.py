"""An SSH server on loopback that plays the board: asyncssh, one folder as the user's home, real commands."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncssh

ROOT = Path(__file__).parents[1]


class Loopback:
    """The server, in a thread of its own.

    Attributes:
        home: where commands run. port: of the server. commands: what it was asked for.
        drop_when: connections are cut `drop_after` seconds after a command with this text begins; the
            number of times is `drops`.
        jump: whether connections to other hosts are passed on; `passed_on`: their ports, as asked for.
    """

    def __init__(self, folder: Path) -> None:
        self.home, self.bin = folder / "home", folder / "bin"
        self.home.mkdir(parents=True)
        self.bin.mkdir()
        self.key, self.host_key = (
            asyncssh.generate_private_key("ssh-ed25519"),
            asyncssh.generate_private_key("ssh-ed25519"),
        )
        self.identity = folder / "id"
        self.key.write_private_key(str(self.identity))
        self.identity.chmod(0o600)
        (folder / "authorized").write_bytes(self.key.export_public_key())
        self.authorized, self.known = folder / "authorized", folder / "known_hosts"
        self.commands: list[str] = []
        self.drop_when, self.drop_after, self.drops = "", 0.3, 0
        self.jump, self.passed_on = False, list[int]()
        self.port = 0
        self._connections: set[Any] = set()
        self._tasks: set[Any] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        python = self.home / "py"
        python.write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" "$@"\n')
        python.chmod(0o755)
        self.python = str(python)

    def start(self) -> None:
        if not self._thread.is_alive():
            self._thread.start()
        self._server = self._do(self._listen())
        self.port = self._server.get_port()
        public = self.host_key.export_public_key().decode().strip()
        self.known.write_text(f"[127.0.0.1]:{self.port} {public}\n")

    def stop(self) -> None:
        """The board goes away, with all connections."""
        self._do(self._close())

    def shut_down(self) -> None:
        self.stop()
        self._do(self._rest())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def options(self) -> tuple[str, ...]:
        """For ssh: nothing of the person who runs the tests."""
        return (
            f"IdentityFile={self.identity}", "IdentitiesOnly=yes", "IdentityAgent=none",
            f"UserKnownHostsFile={self.known}", "GlobalKnownHostsFile=/dev/null",
            "StrictHostKeyChecking=yes", "PreferredAuthentications=publickey",
        )  # fmt: skip

    def tool(self, name: str, text: str) -> None:
        """A program that commands find before the system's."""
        path = self.bin / name
        path.write_text(text)
        path.chmod(0o755)

    def _do(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(20)

    async def _listen(self) -> Any:
        outer = self

        class Server(asyncssh.SSHServer):
            def connection_made(self, conn: Any) -> None:
                outer._connections.add(conn)

            def connection_requested(self, dest_host: str, dest_port: int, *origin: Any) -> bool:
                outer.passed_on.append(dest_port)
                return outer.jump

        return await asyncssh.listen(
            "127.0.0.1",
            self.port,
            server_factory=Server,
            server_host_keys=[self.host_key],
            authorized_client_keys=str(self.authorized),
            process_factory=self._serve,
            encoding=None,
            login_timeout=20,
        )

    async def _close(self) -> None:
        self._server.close()
        self._cut()
        await self._server.wait_closed()

    async def _rest(self) -> None:
        """Nothing is left running."""
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0.05)

    def _cut(self) -> None:
        for connection in list(self._connections):
            with contextlib.suppress(Exception):
                connection.abort()
        self._connections.clear()

    async def _serve(self, process: Any) -> None:
        command = process.command
        self.commands.append(command)
        if self.drops and self.drop_when in command:
            self.drops -= 1
            self._loop.call_later(self.drop_after, self._cut)
        environment = {"PATH": f"{self.bin}:{os.environ['PATH']}", "HOME": str(self.home), "USER": "xilinx"}
        child = await asyncio.create_subprocess_exec(
            "bash", "-c", command, cwd=self.home, env=environment,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert child.stdin is not None and child.stdout is not None and child.stderr is not None
        feed = asyncio.ensure_future(self._pump(process.stdin, child.stdin))
        try:
            await asyncio.gather(
                self._pump(child.stdout, process.stdout), self._pump(child.stderr, process.stderr)
            )
            code = await child.wait()
            process.exit(code if code >= 0 else 128 - code)
        except (OSError, asyncssh.Error):  # the connection was cut
            with contextlib.suppress(ProcessLookupError):
                child.kill()
            await child.wait()
        finally:
            feed.cancel()
            await asyncio.gather(feed, return_exceptions=True)
            child._transport.close()  # type: ignore[attr-defined]  # pipes that others still hold open

    @staticmethod
    async def _pump(source: Any, target: Any) -> None:
        """From one stream to another; the end of the first one ends a program's input."""
        try:
            while data := await source.read(1 << 16):
                target.write(data)
                await target.drain()
        finally:
            if isinstance(target, asyncio.StreamWriter):
                target.close()


@contextlib.contextmanager
def loopback(folder: Path) -> Iterator[Loopback]:
    server = Loopback(folder)
    server.start()
    try:
        yield server
    finally:
        server.shut_down()
