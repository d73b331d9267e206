"""Sources behind a real HTTP server, for source repositories: git repositories that are worked on, and files."""

from __future__ import annotations

import http.server
import io
import os
import subprocess
import tarfile
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

IDENTITY = {
    "GIT_AUTHOR_NAME": "A",
    "GIT_AUTHOR_EMAIL": "a@localhost",
    "GIT_COMMITTER_NAME": "A",
    "GIT_COMMITTER_EMAIL": "a@localhost",
    "GIT_CONFIG_GLOBAL": "/dev/null",
}


def git(folder: Path, *arguments: str) -> str:
    """Run git in a folder and return what it prints."""
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, **IDENTITY},
    )
    return done.stdout.strip()


@dataclass
class Server:
    """A folder behind HTTP, git repositories among it; ``asked`` are the requests, ``before`` hears of each first.

    Below ``/smart/`` git itself answers for a repository, as at all big hosts.
    """

    root: Path
    asked: list[str] = field(default_factory=list)
    before: Callable[[str], None] = lambda request: None

    def __post_init__(self) -> None:
        server = self

        class Handler(http.server.SimpleHTTPRequestHandler):
            def __init__(self, *arguments: object) -> None:
                super().__init__(*arguments, directory=str(server.root))  # type: ignore[arg-type]

            def do_GET(self) -> None:
                self.note()
                if self.path.startswith("/smart/"):
                    self.git()
                else:
                    super().do_GET()

            def do_POST(self) -> None:
                self.note()
                self.git()

            def git(self) -> None:
                path, _, query = self.path.removeprefix("/smart").partition("?")
                environment = {
                    **os.environ,
                    "GIT_PROJECT_ROOT": str(server.root),
                    "GIT_HTTP_EXPORT_ALL": "1",
                    "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
                    "REQUEST_METHOD": self.command,
                    "PATH_INFO": path,
                    "QUERY_STRING": query,
                    "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                    "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
                    "REMOTE_ADDR": "127.0.0.1",
                }
                body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
                done = subprocess.run(
                    ["git", "http-backend"], input=body, env=environment, capture_output=True, check=True
                )
                head, _, content = done.stdout.partition(b"\r\n\r\n")
                headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
                self.send_response(int(headers.pop("Status", "200").split()[0]))
                for name, value in {**headers, "Content-Length": str(len(content))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            def do_HEAD(self) -> None:
                self.note()
                super().do_HEAD()

            def note(self) -> None:
                request = f"{self.command} {self.path}"
                server.before(request)
                server.asked.append(request)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    @property
    def address(self) -> str:
        """Where the folder is."""
        return f"http://127.0.0.1:{self.http.server_port}"

    def write(self, path: str, data: bytes, time: int) -> None:
        """Put a file there, with a time of change in seconds since 1970."""
        (self.root / path).write_bytes(data)
        os.utime(self.root / path, (time, time))

    def archive(self, path: str, files: dict[str, str], time: int = 1_700_000_000) -> None:
        """Put a compressed archive there."""
        made = io.BytesIO()
        with tarfile.open(fileobj=made, mode="w:gz") as archive:
            for name, text in files.items():
                entry = tarfile.TarInfo(name)
                entry.type = tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE
                entry.mode = 0o755 if name.endswith(("/", ".sh")) else 0o644
                entry.size = len(text)
                archive.addfile(entry, io.BytesIO(text.encode()))
        self.write(path, made.getvalue(), time)


@dataclass(frozen=True)
class Project:
    """A git repository that is worked on in ``work``, and published as ``bare``."""

    work: Path
    bare: Path

    @classmethod
    def begin(cls, folder: Path, name: str) -> Project:
        """A repository with a commit, a tag and a branch."""
        work, bare = folder / f"{name}-work", folder / f"{name}.git"
        work.mkdir()
        git(work, "init", "-q", "-b", "master")
        git(folder, "init", "-q", "--bare", "-b", "master", str(bare))
        made = cls(work, bare)
        made.commit({"README": "first\n", "bin/run": "#!/bin/sh\n", "deep/a/b": "b\n"})
        git(work, "tag", "-a", "-m", "one", "1.0")
        made.publish()
        return made

    def commit(self, files: dict[str, str]) -> str:
        """Change files and return the commit."""
        for path, text in files.items():
            (self.work / path).parent.mkdir(parents=True, exist_ok=True)
            (self.work / path).write_text(text)
            (self.work / path).chmod(0o755 if text.startswith("#!") else 0o644)
        git(self.work, "add", "-A")
        git(self.work, "commit", "-q", "-m", "change")
        return self.head

    @property
    def head(self) -> str:
        """The commit that is worked on."""
        return git(self.work, "rev-parse", "HEAD")

    def publish(self) -> None:
        """Bring branches and tags to the bare repository."""
        git(self.work, "push", "-q", "--force", "--all", str(self.bare))
        git(self.work, "push", "-q", "--force", "--tags", str(self.bare))
        git(self.bare, "update-server-info")

    def move(self, text: str) -> str:
        """Commit, publish, and return the commit."""
        commit = self.commit({"README": text})
        self.publish()
        return commit
