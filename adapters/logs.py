"""Logs: structured events on stderr, without personal data."""

import logging
import sys
from typing import Literal

import structlog


def configure_logs(format_: Literal["console", "json"]) -> None:
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if format_ == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        # Whatever stderr is by then: whoever has put another in its place may have closed that one.
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
    )
