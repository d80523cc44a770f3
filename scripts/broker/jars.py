"""Apache Kafka from Maven: fetched once into a cache, and only taken if every file is the expected one."""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

VERSION = "4.3.1"
PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
HERE = Path(__file__).parent


class NotToBeHad(Exception):
    """Says in one line why this machine can't run Kafka, and the way out."""


def java() -> str:
    """The Java of JAVA_HOME, else the one on the PATH."""
    if home := os.environ.get("JAVA_HOME"):
        return str(Path(home, "bin", "java"))
    if found := shutil.which("java"):
        return found
    raise NotToBeHad("Kafka needs Java 17 or newer, and none is on the PATH: install default-jre-headless")


def jars() -> Path:
    """The folder with the broker's jars, which whoever comes first fetches."""
    folder = _cache() / f"kafka-{VERSION}"
    if not folder.exists():
        with _turn(folder.with_name(f"{folder.name}.lock")):
            if not folder.exists():
                _fetch(folder)
    return folder


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "seatline"


def _fetch(folder: Path) -> None:
    """Fills it under another name, so that one that was interrupted is never taken for a whole one."""
    maven = shutil.which("mvn")
    if not maven:
        raise NotToBeHad(f"Maven, which fetches Kafka {VERSION}, is not on the PATH: install maven")
    new = folder.with_name(f"{folder.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    done = subprocess.run(
        [
            maven,
            "--batch-mode",
            "--quiet",
            "--strict-checksums",
            f"--file={HERE / 'pom.xml'}",
            PLUGIN,
            "-DincludeScope=runtime",
            f"-DoutputDirectory={new}",
            "-Dstyle.color=never",
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode:
        complaint = re.search(r"Could not (?:transfer|find) artifact \S+", done.stdout)
        raise NotToBeHad(
            f"Maven could not fetch Kafka {VERSION}, {complaint[0] if complaint else f'exit code {done.returncode}'}:"
            " check the network, or the mirror in Maven's settings.xml"
        )
    if _checksums(new) != (HERE / "jars.sha256").read_text():
        raise NotToBeHad(f"what Maven fetched into {new} differs from {HERE / 'jars.sha256'}: it was left there to see")
    new.rename(folder)


def _checksums(folder: Path) -> str:
    """As `sha256sum *.jar` prints them."""
    return "".join(f"{hashlib.sha256(jar.read_bytes()).hexdigest()}  {jar.name}\n" for jar in sorted(folder.iterdir()))


@contextmanager
def _turn(lock: Path) -> Iterator[None]:
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield
