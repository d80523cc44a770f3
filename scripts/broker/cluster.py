"""A Kafka of one or three brokers on this machine, each of which can be stopped, killed, paused and started again.

Everything about it is in its home, so that one process can start it and another one stop it. Each broker inherits a
lock that the kernel frees however it ends: whether it is held says whether the broker runs, which a process number
can't.
"""

import fcntl
import json
import os
import random
import re
import signal
import socket
import subprocess
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Self
from uuid import uuid4

from scripts.broker.jars import jars, java

HOST = "127.0.0.1"
PATIENCE = 60  # seconds until a broker counts as stuck
GRACE = 10  # seconds for an orderly stop
READY = "Kafka Server started"
# Below those that systems hand out to clients: a client that looks for a stopped broker could else be given its port.
PORTS = range(20_000, 30_000)
JVM = (
    "-Xmx256m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",  # starts in half the time
    "-XX:-UsePerfData",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.log.kafka.server.KafkaRaftServer=info",  # which says READY
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSXXX",
)


class ClusterError(Exception):
    """Says in one line what is in the way, and the way out."""


@dataclass(frozen=True)
class Plan:
    """What a home was made for, and keeps over restarts."""

    id: str
    ports: Sequence[tuple[int, int]]
    """Of each broker: for clients, and for the controllers among themselves."""
    more: Mapping[str, str] = field(default_factory=dict)
    """Settings of Kafka's in place of ours or beside them, such as those by which the listener CLIENTS speaks TLS."""

    @classmethod
    def new(cls, brokers: int, more: Mapping[str, str]) -> Self:
        ports = iter(_free_ports(2 * brokers))
        return cls(urlsafe_b64encode(uuid4().bytes).decode().rstrip("="), list(zip(ports, ports, strict=True)), more)

    def settings(self, node: int, data: Path) -> dict[str, str | int]:
        port, control = self.ports[node - 1]
        copies = min(len(self.ports), 3)
        enough = min(copies, 2)
        return {
            "process.roles": "broker,controller",
            "node.id": node,
            "controller.quorum.voters": ",".join(f"{n}@{HOST}:{c}" for n, (_, c) in enumerate(self.ports, start=1)),
            "controller.listener.names": "CONTROLLER",
            "listeners": f"CLIENTS://{HOST}:{port},CONTROLLER://{HOST}:{control}",
            "listener.security.protocol.map": "CLIENTS:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "inter.broker.listener.name": "CLIENTS",
            "log.dirs": str(data),
            "auto.create.topics.enable": "false",
            "default.replication.factor": copies,
            "min.insync.replicas": enough,
            "offsets.topic.num.partitions": 4,
            "offsets.topic.replication.factor": copies,
            "transaction.state.log.num.partitions": 2,
            "transaction.state.log.replication.factor": copies,
            "transaction.state.log.min.isr": enough,
            "share.coordinator.state.topic.replication.factor": copies,
            "share.coordinator.state.topic.min.isr": enough,
            # Joins and dead members would dominate the time of every test.
            "group.initial.rebalance.delay.ms": 0,
            "group.min.session.timeout.ms": 100,
            # How long until the others go on without one that was killed or hangs.
            "broker.session.timeout.ms": 3_000,
            "broker.heartbeat.interval.ms": 500,
            # As much memory as a test needs, not the 128 MiB that a data centre does.
            "log.cleaner.dedupe.buffer.size": 4 << 20,
            **self.more,
        }


class Broker:
    """One node of a cluster, broker and controller at once."""

    def __init__(self, home: Path, node: int, plan: Plan) -> None:
        self.node = node
        self.port, self._control_port = plan.ports[node - 1]
        self.address = f"{HOST}:{self.port}"
        self.log = home / f"broker-{node}.log"
        self._plan = plan
        self._data = home / f"data-{node}"
        self._settings = home / f"broker-{node}.properties"
        self._lock = home / f"broker-{node}.lock"
        self._process: subprocess.Popen[bytes] | None = None
        self._log_from = 0

    @property
    def runs(self) -> bool:
        return self.pid is not None

    @property
    def pid(self) -> int | None:
        """None unless the broker runs, paused or not."""
        with suppress(FileNotFoundError), self._lock.open("r") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return int(lock.read() or 0) or None
        return None

    def start(self) -> None:
        """Returns when it serves clients, which takes a majority of the cluster."""
        self.launch()
        self.wait_until_ready()

    def launch(self) -> None:
        """Starts it without waiting: of three brokers, none serves before there are two."""
        if self.runs:
            return
        for port in (self.port, self._control_port):
            if not _is_free(port):
                raise ClusterError(
                    f"port {port} of broker {self.node} is taken by another program: end it, or take another home"
                )
        with self._lock.open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            lock.truncate(0)
            self.log.touch(mode=0o600)
            self._log_from = self.log.stat().st_size
            self._prepare()
            self._process = self._spawn("kafka.Kafka", str(self._settings), lock=lock.fileno())
            lock.write(str(self._process.pid))

    def wait_until_ready(self) -> None:
        wait = _patience(PATIENCE)
        while READY not in self._said():
            if not self.runs:
                raise ClusterError(f"broker {self.node} did not start, {self._complaint()}")
            if not wait():
                raise ClusterError(f"broker {self.node} did not start within {PATIENCE} seconds (more in {self.log})")

    def stop(self) -> None:
        """Ends it in order; by force if it can't, as when too few others are left to hand over to."""
        self.ask_to_stop()
        self.wait_until_stopped()

    def ask_to_stop(self) -> None:
        self._signal(signal.SIGTERM)
        self.resume()  # a paused one would never notice

    def wait_until_stopped(self) -> None:
        wait = _patience(GRACE)
        while self.runs and wait():
            pass
        self.kill()

    def kill(self) -> None:
        self._signal(signal.SIGKILL)
        wait = _patience(GRACE)
        while self.runs:
            if not wait():
                raise ClusterError(f"broker {self.node} (process {self.pid}) outlives SIGKILL: see what its disk does")
        if self._process:
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """Lets it hold its connections and do nothing, as a machine that swaps or a network that hangs."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if pid := self.pid:
            os.kill(pid, number)

    def _prepare(self) -> None:
        settings = self._plan.settings(self.node, self._data)
        self._settings.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
        if not (self._data / "meta.properties").exists():
            names = (f"--cluster-id={self._plan.id}", f"--config={self._settings}")
            if self._spawn("kafka.tools.StorageTool", "format", *names).wait():
                raise ClusterError(f"{self._data} can't be made, {self._complaint()}")

    def _spawn(self, main: str, *arguments: str, lock: int | None = None) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [java(), *JVM, "-cp", f"{jars()}/*", main, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[] if lock is None else [lock],
                start_new_session=True,  # an interrupt from the keyboard is for whoever started it
            )

    def _said(self) -> str:
        return self.log.read_bytes()[self._log_from :].decode(errors="replace")

    def _complaint(self) -> str:
        said = self._said()
        if "UnsupportedClassVersionError" in said:
            return "its Java is older than 17: install default-jre-headless, or set JAVA_HOME"
        complaints = re.findall(r"^(?:\S+(?:Exception|Error): |Error: )(.+)", said, re.MULTILINE)
        return f"{complaints[-1] if complaints else 'it was killed'} (more in {self.log})"


class Cluster:
    def __init__(self, plan: Plan, home: Path) -> None:
        self.brokers = [Broker(home, node, plan) for node in range(1, len(plan.ports) + 1)]
        self._turn = home / "cluster.lock"

    @classmethod
    def at(cls, home: Path, brokers: int = 1, more: Mapping[str, str] | None = None) -> Self:
        """The cluster of this home, which is made for so many brokers if there is none yet."""
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _turn(home / "cluster.lock"):
            cluster = cls.existing(home)
            if not cluster:
                plan = Plan.new(brokers, more or {})
                new = home / "cluster.json.new"
                new.write_text(json.dumps(asdict(plan)))
                new.rename(home / "cluster.json")
                cluster = cls(plan, home)
        if len(cluster.brokers) != brokers:
            raise ClusterError(f"{home} was made for {len(cluster.brokers)} brokers, not {brokers}: take another home")
        return cluster

    @classmethod
    def existing(cls, home: Path) -> Self | None:
        home = home.absolute()
        try:
            known = json.loads((home / "cluster.json").read_text())
        except FileNotFoundError:
            return None
        return cls(Plan(**known), home)

    @property
    def bootstrap(self) -> str:
        return ",".join(broker.address for broker in self.brokers)

    def start(self) -> None:
        """Starts what doesn't run; of several processes that do so at once, one does."""
        with _turn(self._turn):
            for broker in self.brokers:
                broker.launch()
            for broker in self.brokers:
                broker.wait_until_ready()

    def stop(self) -> None:
        with _turn(self._turn):
            for broker in self.brokers:
                broker.ask_to_stop()
            for broker in self.brokers:
                broker.wait_until_stopped()


@contextmanager
def _turn(lock: Path) -> Iterator[None]:
    with lock.open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


def _patience(seconds: float) -> Callable[[], bool]:
    """What waits a little at each call, and says whether to go on."""
    deadline = time.monotonic() + seconds

    def wait() -> bool:
        time.sleep(0.02)
        return time.monotonic() < deadline

    return wait


def _free_ports(count: int) -> list[int]:
    ports = [port for port in random.sample(PORTS, 100) if _is_free(port)]
    if len(ports) < count:
        raise ClusterError(f"nearly all ports of {HOST} from {PORTS.start} to {PORTS.stop - 1} are taken: free some")
    return ports[:count]


def _is_free(port: int) -> bool:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the broker does, after connections of its own
        try:
            taken.bind((HOST, port))
        except OSError:
            return False
    return True
