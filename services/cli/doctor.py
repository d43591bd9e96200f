"""`glioserve doctor`: what this machine lacks, what that disables, and the exact command that brings it."""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from services.core.runtime.settings import SharedSettings

GIB = 1 << 30
MIN_DISK, MIN_MEMORY, MIN_SHM = 3 * GIB, 5 * GIB, GIB // 2
MIN_GLIBC = (2, 35)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One check. `how` is the command or action that mends it; `needed` says whether the main job works without it."""

    name: str
    ok: bool
    needed: bool
    found: str
    how: str = ""


def examine(shared: SharedSettings) -> list[Finding]:
    """All checks, in the order in which a person would mend them."""
    checks: list[Callable[[SharedSettings], Finding]] = [
        _machine, _python, _memory, _disk, _shared_memory, _triton_runtime, _libpython, _models, _java, _kafka,
    ]  # fmt: skip
    return [check(shared) for check in checks]


def _machine(_: SharedSettings) -> Finding:
    name, version = platform.libc_ver()
    numbers = tuple(int(part) for part in version.split(".")[:2]) if version else (0, 0)
    ok = platform.machine() == "x86_64" and name == "glibc" and numbers >= MIN_GLIBC
    found = f"{platform.machine()}, {name or 'unknown libc'} {version}"
    return Finding(name="machine", ok=ok, needed=True, found=found, how="Use x86-64 Linux with glibc 2.35 or later.")


def _python(_: SharedSettings) -> Finding:
    found = platform.python_version()
    return Finding(
        name="python", ok=sys.version_info[:2] == (3, 11), needed=True, found=found, how="Use Python 3.11 (Debian 12)."
    )


def _memory(_: SharedSettings) -> Finding:
    size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return _sized("memory", size, MIN_MEMORY, "Give the machine more memory.")


def _disk(shared: SharedSettings) -> Finding:
    home = shared.home.resolve()
    place = next(folder for folder in (home, *home.parents) if folder.exists())
    return _sized("disk", shutil.disk_usage(place).free, MIN_DISK, f"Free space below {home}, or set GLIOSERVE_HOME.")


def _shared_memory(_: SharedSettings) -> Finding:
    place = Path("/dev/shm")  # noqa: S108 - POSIX shared memory on Linux, not a temporary file
    if not os.access(place, os.W_OK):
        how = "mount -t tmpfs tmpfs /dev/shm"
        return Finding(name="shared memory", ok=False, needed=True, found="cannot be written", how=how)
    how = "mount -o remount,size=2G /dev/shm"
    return _sized("shared memory", shutil.disk_usage(place).free, MIN_SHM, how)


def _triton_runtime(shared: SharedSettings) -> Finding:
    ok = (shared.triton_runtime / "bin" / "python").exists()
    found = str(shared.triton_runtime) if ok else f"{shared.triton_runtime} is not there"
    return Finding(name="triton runtime", ok=ok or bool(shared.triton_url), needed=True, found=found, how="make setup")


def _libpython(_: SharedSettings) -> Finding:
    try:
        ctypes.CDLL("libpython3.11.so.1.0")
    except OSError:
        own = Path(sys.base_prefix) / "lib" / "libpython3.11.so.1.0"
        if not own.exists():
            how = "apt-get install -y libpython3.11"
            return Finding(name="libpython", ok=False, needed=True, found="libpython3.11.so.1.0 is not there", how=how)
    return Finding(name="libpython", ok=True, needed=True, found="libpython3.11.so.1.0")


def _models(shared: SharedSettings) -> Finding:
    ok = (shared.models / "manifest.json").exists()
    found = str(shared.models) if ok else f"{shared.models} has no manifest.json"
    return Finding(name="models", ok=ok, needed=True, found=found, how="Set GLIOSERVE_MODELS to a model repository.")


def _java(_: SharedSettings) -> Finding:
    where = shutil.which("java")
    how = "apt-get install -y openjdk-17-jre-headless"
    return Finding(name="java (Kafka tests)", ok=bool(where), needed=False, found=where or "not there", how=how)


def _kafka(_: SharedSettings) -> Finding:
    libs = Path(".cache/kafka/libs")
    ok = any(libs.glob("kafka_*.jar")) if libs.is_dir() else False
    return Finding(
        name="Kafka broker (tests)", ok=ok, needed=False, found=str(libs) if ok else "not there", how="make servers"
    )


def _sized(name: str, size: int, least: int, how: str) -> Finding:
    found = f"{size / GIB:.1f} GiB"
    return Finding(name=name, ok=size >= least, needed=True, found=f"{found} (needs {least / GIB:.1f})", how=how)
