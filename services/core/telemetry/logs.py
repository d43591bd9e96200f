"""JSON logs without identity (rule 10): one event name a line, and only keys of the allow-list.

Call sites write `log.info("study.accepted", extra={"study": key})`. The message of a log call is an event name, never
prose with values in it. A key that is not allowed is dropped and named in `dropped`: noticed, and not leaked.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
import traceback
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

from opentelemetry import trace

ALLOWED = frozenset(
    {
        "address", "advice", "attempt", "backlog", "code", "count", "door", "endpoint", "exit_code", "group", "kind",
        "lag_s", "lane", "method", "model", "offset", "outcome", "partition", "patient", "pid", "port",
        "reason", "replay", "request_id", "revision", "route", "run_id", "seconds", "service", "signal", "size", "slot",
        "session", "stage", "state", "status", "step", "study", "topic", "transport", "version",
    }
)  # fmt: skip
_SILENT = ("kafka",)
"""Libraries that log dozens of lines a second while their server is away; the callers' own logs say that it is."""
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
log = logging.getLogger(__name__)


class JsonFormatter(logging.Formatter):
    """One JSON object a line: ts, level, service, logger, event, the allowed keys, trace and span ids."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        """Formats a record; exceptions are given by type and place, never by text of unknown origin."""
        extra = {key: value for key, value in vars(record).items() if key not in _STANDARD}
        line: dict[str, object] = {
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "service": self._service,
            "logger": record.name,
            "event": record.getMessage() if record.name.startswith("services.") else _foreign(record),
        }
        line.update({key: value for key, value in extra.items() if key in ALLOWED})
        if dropped := sorted(set(extra) - ALLOWED):
            line["dropped"] = dropped
        if record.exc_info and record.exc_info[1]:
            line["exception"] = describe_exception(record.exc_info[1])
        span = trace.get_current_span().get_span_context()
        if span.is_valid:
            line["trace_id"], line["span_id"] = f"{span.trace_id:032x}", f"{span.span_id:016x}"
        return json.dumps(line, default=str, ensure_ascii=False)


def describe_exception(error: BaseException) -> dict[str, object]:
    """Type and stack of an exception. Its text stays out: a library may quote a header in it."""
    frames = traceback.extract_tb(error.__traceback__)[-12:]
    return {
        "type": type(error).__qualname__,
        "at": [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames],
    }


def setup_logging(service: str, level: str, file: Path | None = None) -> None:
    """Sends all logs of this process to standard error, or to a file, as JSON lines."""
    handler = logging.FileHandler(file) if file else logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(service))
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger("services").setLevel(level)
    for name in _SILENT:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    logging.captureWarnings(capture=True)  # a library's warning may quote a header: it goes the way of its logs
    sys.excepthook = _log_uncaught
    threading.excepthook = lambda uncaught: _log_uncaught(
        uncaught.exc_type, uncaught.exc_value or uncaught.exc_type(), uncaught.exc_traceback
    )


def _log_uncaught(kind: type[BaseException], error: BaseException, place: TracebackType | None) -> None:
    """The end of a process or thread by an exception, logged as all others are: never with its text."""
    if issubclass(kind, KeyboardInterrupt):
        return
    log.critical("process.crashed", exc_info=(kind, error, place))
    if not any(getattr(handler, "stream", None) is sys.stderr for handler in logging.getLogger().handlers):
        sys.stderr.write(f"crashed with {kind.__name__}; the log has the place\n")


def _foreign(record: logging.LogRecord) -> str:
    """A library's message may quote anything; only its unformatted template is kept."""
    return f"{record.name}: {record.msg if record.args else type(record.msg).__name__}"
