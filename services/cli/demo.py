"""`glioserve demo`: the main job on one machine, from an empty folder to results that a person can open."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from services.cli.child import tied_to
from services.cli.doctor import Finding, examine
from services.cli.exit_codes import Exit
from services.cli.gateway_client import Document, GatewayClient, Submission
from services.cli.readiness import unready, wait_ready
from services.cli.source import collect
from services.cli.study_commands import exit_of, fetch_all, follow, standing, summary
from services.cli.supervisor import DRAIN_S, WARD
from services.core.runtime.home import Home, read_endpoints
from services.core.runtime.settings import SharedSettings

READY_WITHIN_S, DONE_WITHIN_S = 120.0, 900.0
PHANTOM_SEED = 2021


def demo(shared: SharedSettings, environ: Mapping[str, str], options: argparse.Namespace) -> int:
    """Checks the machine, starts the stack, sends a study, shows what comes out. Gives the exit code."""
    if missing := [finding for finding in examine(shared) if finding.needed and not finding.ok]:
        return _tell_missing(missing)
    if options.study:
        collect(Path(options.study))  # a wrong path is told before anything starts
    home = Home(shared.home.resolve())
    out = Path(options.out) if options.out else home.root / "demo" / "results"
    with _stack(home, environ) as started:
        source = Path(options.study) if options.study else _phantom(home)
        wait_ready(home, WARD, READY_WITHIN_S, started)
        gateway = GatewayClient(read_endpoints(home)["gateway"]["http"])
        try:
            study = _one_study(gateway, source, out)
            if study is None:
                print(f"The study did not end within {DONE_WITHIN_S:.0f} s; read the logs below {home.logs}.")
                return Exit.TIMED_OUT
            if study["revision"] is None:
                print(summary(study))
                return Exit.NO_RESULT
            page = f"{gateway.url}{study['links']['page']}"
            (out / "page.html").write_text(_saved(gateway.text(study["links"]["page"]), study))
        finally:
            gateway.close()
        _show(study, out)
        if sys.stdout.isatty():
            print(f"\nPage       {page}\nThe services stay up until Ctrl-C.", flush=True)
            signal.sigwait({signal.SIGINT, signal.SIGTERM})
            print("\nStopping ...", flush=True)
        else:
            print(f"\nPage       {out / 'page.html'} (a copy: the services stop now)")
    return exit_of(study)


def _tell_missing(missing: list[Finding]) -> int:
    print("This machine lacks what the demo needs:")
    for finding in missing:
        print(f"  {finding.name}: {finding.found}\n      {finding.how}")
    return Exit.MACHINE


@contextmanager
def _stack(home: Home, environ: Mapping[str, str]) -> Iterator[Callable[[], bool]]:
    """The running services of this home: those that are up already, or ones that end with the block."""
    if not unready(home, WARD):
        print(f"Using the services that run in {home.root}.")
        yield lambda: True
        return
    print(f"Starting the services in {home.root} ...", flush=True)
    home.prepare()
    with (home.logs / "up.log").open("ab") as log:
        up = subprocess.Popen(
            [sys.executable, "-m", "services.cli", "up", "--no-theatre"],
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=tied_to(os.getpid(), end=signal.SIGTERM),  # noqa: PLW1509 - one thread; two system calls
        )
    try:
        yield lambda: up.poll() is None
    finally:
        up.send_signal(signal.SIGTERM)
        try:
            up.wait(DRAIN_S + 10)
        except subprocess.TimeoutExpired:
            up.kill()
            up.wait()


def _phantom(home: Home) -> Path:
    from services.phantom import PhantomSpec, generate, invented_patient, write_dicom

    folder = home.root / "demo" / "phantom"
    if not folder.is_dir():
        print("Drawing a phantom glioma study (four series, an invented patient) ...", flush=True)
        fresh = folder.with_name("phantom.new")
        write_dicom(generate(PHANTOM_SEED, PhantomSpec(skull=True)), fresh, invented_patient(PHANTOM_SEED))
        fresh.rename(folder)
    return folder


def _one_study(gateway: GatewayClient, source: Path, out: Path) -> Document | None:
    files = collect(source)
    print(f"Sending {len(files)} files ...", flush=True)
    accepted = gateway.submit(Submission(files=files))
    if sys.stdout.isatty():
        print(f"Page       {gateway.url}{accepted['links']['page']}", flush=True)
    study = follow(gateway, accepted["id"], timeout_s=DONE_WITHIN_S, quiet=False)
    if study is not None and study["revision"] is not None:
        fetch_all(gateway, study["id"], out)
    return study


def _saved(page: str, study: Document) -> str:
    """The page as a file: its downloads are the files beside it."""
    return page.replace(f'href="{study["links"]["results"]}/', 'href="').replace('href="/"', 'href="page.html"')


def _show(study: Document, out: Path) -> None:
    report = json.loads((out / "report.json").read_text())
    print(f"\nResult     {standing(report)} (revision {report['revision']})")
    for reason in report["reasons"]:
        print(f"           {reason['message']}")
    if report["volumes_ml"] is not None:
        volumes = ", ".join(f"{name} {report['volumes_ml'][name]:.1f}" for name in ("WT", "TC", "ET"))
        print(f"Volumes    {volumes} ml")
    for marker in report["markers"]:
        decided = marker["decision"] in ("positive", "negative")
        chance = f" ({marker['probability']:.2f})" if decided else ""
        print(f"Marker     {marker['marker']}: {marker['decision']}{chance}")
    times = ", ".join(f"{s['stage']} {s['seconds']:.1f}" for s in study["stages"] if s.get("seconds") is not None)
    print(f"Seconds    {times}")
    print(f"Results    {out}")
    print(f"           {report['disclaimer']}")
