"""A broker of its own, or the cluster that the settings name."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from adapters.embedded import temporary_home
from scripts.broker.cluster import Cluster


@contextmanager
def a_machine() -> Iterator[str]:
    """The bootstrap servers."""
    if given := os.environ.get("SEATLINE_KAFKA"):
        yield given
        return
    with temporary_home() as home:
        cluster = Cluster.at(home)
        cluster.start()
        try:
            yield cluster.bootstrap
        finally:
            cluster.stop()
