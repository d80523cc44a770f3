"""The day's work in docs/auditors.md, done as it is written there."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.office import Office
from tests.story import told

pytestmark = pytest.mark.slow

PAGE = Path(__file__).parent.parent / "docs" / "auditors.md"
LINE = re.compile(r"(?P<command>.*?)\s*(?:# (?P<says>.*))?")


def commands() -> list[tuple[str, str]]:
    """Those of the day, each with what it has to say."""
    day = PAGE.read_text(encoding="utf-8").partition("## A day's work")[2].partition("\n## ")[0]
    lines = [line for block in re.findall(r"```sh\n(.*?)```", day, re.DOTALL) for line in block.splitlines()]
    found = [LINE.fullmatch(line) for line in lines]
    return [(match["command"], match["says"] or "") for match in found if match]


def test_an_auditors_day_goes_as_it_is_written(office: Office, tmp_path: Path) -> None:
    list(told(office))
    office.drain(office.projections())
    program = Path(sys.executable).parent
    environment = os.environ | {
        "SEATLINE_DATABASE_URL": office.url,
        "SEATLINE_HOME": str(tmp_path),
        "PATH": f"{program}:{os.environ['PATH']}",
    }
    settings = ""
    for command, says in commands():
        if command.startswith("export "):
            settings = f"{command}; "
            continue
        done = subprocess.run(
            ["/bin/bash", "-c", settings + command], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        assert says in done.stdout, f"{command}: {done.stdout}"
