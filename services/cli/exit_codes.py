"""Exit codes of `glioserve`; they are part of its interface and never change meaning."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """0 and 1 as everywhere, 2 as argparse."""

    OK = 0
    UNEXPECTED = 1
    USAGE = 2
    UNREACHABLE = 3
    """The gateway of this home does not answer."""
    REFUSED = 4
    """The input or the request was refused; the reason is printed."""
    NO_RESULT = 5
    """The study ended without a usable result (insufficient or failed)."""
    NOT_FOUND = 6
    """No such study, or no such result yet."""
    TIMED_OUT = 7
    """The wait was given up; the study goes on."""
    MACHINE = 8
    """This machine lacks something; what, and the command that brings it, is printed."""
    INTERRUPTED = 130
    """Ctrl-C."""
