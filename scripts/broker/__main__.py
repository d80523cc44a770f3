"""`scripts/kafka`: a Kafka for development, in the background or in front."""

import argparse
import os
import signal
import sys
import threading
from pathlib import Path

from adapters.embedded import default_home
from scripts.broker.cluster import Cluster, ClusterError
from scripts.broker.jars import VERSION, NotToBeHad


def main() -> int:
    arguments = _arguments()
    try:
        match arguments.action:
            case "start":
                return _start(arguments.home, arguments.brokers)
            case "run":
                return _run(arguments.home, arguments.brokers)
            case "stop":
                return _stop(arguments.home)
            case _:
                return _status(arguments.home)
    except (ClusterError, NotToBeHad, OSError) as error:
        print(f"scripts/kafka: {error}", file=sys.stderr)
        return 3


def _start(home: Path, brokers: int) -> int:
    cluster = Cluster.at(home, brokers)
    cluster.start()
    print(cluster.bootstrap)
    return 0


def _run(home: Path, brokers: int) -> int:
    asked_to_stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: asked_to_stop.set())
    cluster = Cluster.at(home, brokers)
    try:
        cluster.start()
        print(cluster.bootstrap, flush=True)
        while not asked_to_stop.wait(0.5):
            for broker in cluster.brokers:
                if not broker.runs:
                    raise ClusterError(f"broker {broker.node} has ended (more in {broker.log})")
    finally:
        cluster.stop()
    return 0


def _stop(home: Path) -> int:
    if cluster := Cluster.existing(home):
        cluster.stop()
    return 0


def _status(home: Path) -> int:
    cluster = Cluster.existing(home)
    brokers = cluster.brokers if cluster else []
    for broker in brokers:
        print(broker.node, broker.address, f"runs, process {broker.pid}" if broker.runs else "stopped")
    if not brokers:
        print(f"scripts/kafka: there is no Kafka in {home}", file=sys.stderr)
    return 0 if brokers and all(broker.runs for broker in brokers) else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/kafka",
        description=f"Apache Kafka {VERSION} on this machine alone, for development; it needs Java 17, and Maven once.",
        epilog="start and run print what SEATLINE_KAFKA takes; status ends with 1 unless all brokers run.",
    )
    parser.add_argument("action", choices=("start", "stop", "status", "run"))
    parser.add_argument("--brokers", type=int, choices=(1, 3), default=1, help="default: %(default)s")
    parser.add_argument("--home", type=Path, default=_home(), help="default: %(default)s")
    return parser.parse_args()


def _home() -> Path:
    return Path(os.environ.get("SEATLINE_HOME") or default_home()) / "kafka"


if __name__ == "__main__":
    sys.exit(main())
