"""From parsed arguments to a command, with what it needs; from errors to words and exit codes."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

from pydantic import Field, SecretStr

from services.cli import study_commands
from services.cli.demo import demo
from services.cli.dev_certs import dev_certs
from services.cli.doctor import examine
from services.cli.exit_codes import Exit
from services.cli.gateway_client import GatewayClient, NotFound
from services.cli.supervisor import WARD, Supervisor, everything
from services.cli.token import make_token
from services.core.contracts.errors import GlioServeError, Refused, Transient
from services.core.runtime.home import Home, read_endpoints
from services.core.runtime.settings import ServiceSettings, SettingsError, SharedSettings, load, load_shared
from services.core.telemetry.logs import setup_logging

CONVERSATIONS: Mapping[str, Callable[[GatewayClient, argparse.Namespace], int]] = {
    "submit": study_commands.submit,
    "status": study_commands.status,
    "results": study_commands.results,
    "replay": study_commands.replay,
}


class CliSettings(ServiceSettings):
    """GLIOSERVE_CLI__GATEWAY_URL and GLIOSERVE_CLI__TOKEN: for a gateway that is not of this home."""

    gateway_url: str | None = Field(default=None, description="Default: what endpoints.json of the home says.")
    token: SecretStr | None = Field(default=None, description="Bearer token of a gateway that asks for one.")


def run(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Runs a command; says on standard error what went wrong and what to do."""
    try:
        shared = load_shared(environ)
        command = LOCAL.get(options.command, _converse)
        return _flushed(command(shared, environ, options))
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return Exit.USAGE
    except GlioServeError as error:
        sys.stderr.write(f"{error.message} [{error.code}]\n{error.advice}".rstrip() + "\n")
        return exit_for(error)
    except BrokenPipeError:  # whoever read the output has enough, such as `head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.UNEXPECTED
    except OSError as error:
        sys.stderr.write(f"{error.filename or 'the system'}: {error.strerror or error} [{type(error).__name__}]\n")
        return Exit.UNEXPECTED


def _flushed(code: int) -> int:
    sys.stdout.flush()  # here, where a reader that has left is no surprise
    return code


def exit_for(error: GlioServeError) -> Exit:
    """The exit code that an error means."""
    if isinstance(error, NotFound):
        return Exit.NOT_FOUND
    if isinstance(error, Refused):
        return Exit.REFUSED
    if isinstance(error, Transient):
        return Exit.UNREACHABLE
    return Exit.UNEXPECTED


def _converse(shared: SharedSettings, environ: Mapping[str, str], options: argparse.Namespace) -> int:
    settings = load(CliSettings, "cli", environ)
    url = settings.gateway_url or _local_gateway(shared)
    gateway = GatewayClient(url, settings.token.get_secret_value() if settings.token else None)
    try:
        return CONVERSATIONS[options.command](gateway, options)
    finally:
        gateway.close()


def _local_gateway(shared: SharedSettings) -> str:
    home = Home(shared.home.resolve())
    addresses = read_endpoints(home).get("gateway")
    if addresses is None:
        raise Transient("UNREACHABLE", f"no gateway runs in the home {home.root}", "Start it: glioserve up")
    return addresses["http"]


def _up(shared: SharedSettings, environ: Mapping[str, str], options: argparse.Namespace) -> int:
    home = Home(shared.home.resolve())
    home.prepare()
    setup_logging("supervisor", shared.log_level, home.logs / "supervisor.jsonl")
    only = options.only.split(",") if options.only else everything(theatre=not options.no_theatre)
    if not options.only and not options.no_theatre and only == WARD:
        print("without the operating room's processes: they need 6 GiB of memory", flush=True)
    return Supervisor(shared, environ, only).run(lambda text: print(text, flush=True))


def _token(_: SharedSettings, __: Mapping[str, str], options: argparse.Namespace) -> int:
    print(make_token(options.name, Path(options.file)))
    return Exit.OK


def _dev_certs(_: SharedSettings, __: Mapping[str, str], options: argparse.Namespace) -> int:
    print(dev_certs(Path(options.folder), options.host, options.days))
    return Exit.OK


def _doctor(shared: SharedSettings, _: Mapping[str, str], options: argparse.Namespace) -> int:
    findings = examine(shared)
    if options.json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        for finding in findings:
            mark = "ok     " if finding.ok else "MISSING" if finding.needed else "absent "
            print(f"{mark} {finding.name}: {finding.found}" + ("" if finding.ok else f"\n        {finding.how}"))
    return Exit.OK if all(finding.ok or not finding.needed for finding in findings) else Exit.MACHINE


def _evaluate(_: SharedSettings, environ: Mapping[str, str], options: argparse.Namespace) -> int:
    """In a process of its own: what it imports is no part of a service's installation."""
    if importlib.util.find_spec("openvino") is None:
        raise Refused("NOT_INSTALLED", "the evaluation is not installed", "Type: pip install 'glioserve[evaluation]'")
    data = environ.get("GLIOSERVE_REFERENCE_DATA")
    known = ["--data", data] if data else []  # first, so that what was typed wins
    command = [sys.executable, "-m", "services.evaluation", *known, *options.rest]
    return subprocess.run(command, env=dict(environ), check=False).returncode


def _navigate(shared: SharedSettings, environ: Mapping[str, str], options: argparse.Namespace) -> int:
    from services.cli.navigate import navigate  # gRPC and images: half a second that other commands do without

    return navigate(shared, environ, options)


Command = Callable[[SharedSettings, Mapping[str, str], argparse.Namespace], int]
LOCAL: Mapping[str, Command] = {
    "up": _up,
    "demo": demo,
    "doctor": _doctor,
    "token": _token,
    "evaluate": _evaluate,
    "dev-certs": _dev_certs,
    "navigate": _navigate,
}
