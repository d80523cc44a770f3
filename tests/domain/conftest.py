"""Every story ends with a replay: what was decided is what the stored events say."""

from collections.abc import Iterator

import pytest
from hypothesis import settings

pytest.register_assert_rewrite("tests.domain.given")

from tests.domain.given import Story  # noqa: E402

settings.register_profile("quick", max_examples=50, stateful_step_count=30, deadline=None, print_blob=True)
settings.register_profile("full", max_examples=10_000, stateful_step_count=50, deadline=None, print_blob=True)


@pytest.fixture
def story() -> Iterator[Story]:
    """A subscription SUB-1 on 2026-03-02, with a base service that ends on 2026-06-30."""
    story = Story()
    story.start()
    yield story
    story.check_replay()


@pytest.fixture
def blank() -> Iterator[Story]:
    """Nothing has happened yet."""
    story = Story()
    yield story
    story.check_replay()
