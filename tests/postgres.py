"""A PostgreSQL of the tests' own: begun in a temporary folder on a free port, and gone when they are over.

python -m tests.postgres COMMAND…    runs the command with HEIST_TEST_DATABASE_URL set to it
"""

import os
import pwd
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import NullPool, create_engine, make_url

PASSWORD = "geheim:@/ü"
"""Hard to write in an URL, and easy to find where it must not stand."""
WRITTEN = "geheim%3A%40%2F%C3%BC"


def programs() -> Path:
    """The folder of the newest `pg_ctl` of this machine; Debian keeps it out of the way."""
    beside = shutil.which("pg_ctl")
    found = [Path(beside)] if beside else []
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"), key=lambda path: int(path.parts[-3]))
    if not found:
        raise SystemExit("there is no pg_ctl here; `apt-get install postgresql` brings it")
    return found[-1].parent


class Server(NamedTuple):
    """One that runs; `stop` and `start` are for who wants to see it gone in the middle."""

    folder: Path
    port: int

    @property
    def url(self) -> str:
        return self.named("postgres")

    def named(self, database: str) -> str:
        """The URL of a database."""
        return f"postgresql+psycopg://heist:{WRITTEN}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        self._control("start", "--log", str(self.folder / "log"), "--wait")

    def stop(self, mode: str = "immediate") -> None:
        """`immediate` is as if it was killed; `fast` breaks the connections off in good order."""
        self._control("stop", "--mode", mode, "--wait")

    def _control(self, *arguments: str) -> None:
        _run([str(programs() / "pg_ctl"), "--pgdata", str(self.folder / "data"), "--silent", *arguments], self.folder)


def _run(command: Sequence[str], folder: Path) -> None:
    """As somebody who is not root, whom PostgreSQL refuses."""
    user = "postgres" if os.getuid() == 0 else None
    done = subprocess.run(command, user=user, group=user, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{command[0]} failed: {done.stderr or done.stdout}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running() -> Generator[Server]:
    """A server that keeps nothing safe, for speed, and sorts by the rules of a language, as most do."""
    with tempfile.TemporaryDirectory(prefix="heist-postgres-", ignore_cleanup_errors=True) as made:
        folder = Path(made)
        if os.getuid() == 0:
            account = pwd.getpwnam("postgres")
            os.chown(folder, account.pw_uid, account.pw_gid)
        (folder / "password").write_text(PASSWORD)
        (folder / "password").chmod(0o644)
        sorted_so = ("--locale=C.UTF-8", "--encoding=UTF8", "--locale-provider=icu", "--icu-locale=en-US")
        who = ("--username=heist", f"--pwfile={folder}/password", "--auth=scram-sha-256")
        _run([str(programs() / "initdb"), f"--pgdata={folder}/data", *sorted_so, *who, "--no-sync"], folder)
        server = Server(folder, _free_port())
        with (folder / "data" / "postgresql.conf").open("a") as conf:
            conf.write(
                f"port = {server.port}\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = ''\n"
                "fsync = off\nfull_page_writes = off\nmax_connections = 200\n"
            )
        server.start()
        try:
            yield server
        finally:
            server.stop()


@contextmanager
def schema(server: str) -> Generator[str]:
    """The URL of an empty schema, which is dropped in the end. It takes a tenth of the time that a database does."""
    name = f"heist_{secrets.token_hex(6)}"
    _order(server, f"CREATE SCHEMA {name}")
    try:
        yield make_url(server).update_query_dict({"options": f"-csearch_path={name}"}).render_as_string(False)
    finally:
        _order(server, f"DROP SCHEMA {name} CASCADE")


@contextmanager
def database(server: str) -> Generator[str]:
    """The URL of an empty database, which is dropped in the end; `server` is the URL of any other."""
    name = f"heist_{secrets.token_hex(6)}"
    _order(server, f"CREATE DATABASE {name}")
    try:
        yield make_url(server).set(database=name).render_as_string(hide_password=False)
    finally:
        _order(server, f"DROP DATABASE {name} WITH (FORCE)")


def plain(url: str) -> str:
    """The URL as PostgreSQL's own programs read it, without the password."""
    return make_url(url).set(drivername="postgresql", password=None).render_as_string(hide_password=False)


def _order(server: str, order: str) -> None:
    engine = create_engine(server, isolation_level="AUTOCOMMIT", poolclass=NullPool)
    with engine.connect() as connection:
        connection.exec_driver_sql(order)


def main(command: Sequence[str]) -> int:
    with running() as server:
        environment = os.environ | {"HEIST_TEST_DATABASE_URL": server.url}
        return subprocess.run(command, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
