"""The command line of `glioserve`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from services.cli.exit_codes import Exit
from services.core.contracts.enums import Stage

EPILOG = "Exit codes: " + ", ".join(f"{code.value} {code.name.lower().replace('_', ' ')}" for code in Exit) + "."


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The arguments; prints usage and exits with 2 when they are wrong."""
    parser = argparse.ArgumentParser(
        prog="glioserve", description="Glioma MRI: a study goes in, one consistent result set comes out.", epilog=EPILOG
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    up = commands.add_parser("up", help="run all services of this home in the foreground")
    up.add_argument("--only", metavar="NAMES", help="comma-separated services, such as gateway,triton")
    up.add_argument("--no-theatre", action="store_true", help="without the operating room's processes")
    _submit(commands.add_parser("submit", help="send a study (folder, ZIP or file; DICOM or NIfTI)"))
    status = _json(commands.add_parser("status", help="show one study, or all"))
    status.add_argument("study", nargs="?", metavar="ID")
    results = _json(commands.add_parser("results", help="fetch the current results of a study"))
    results.add_argument("study", metavar="ID")
    results.add_argument("--out", required=True, metavar="DIR", help="the folder to write into")
    replay = _json(commands.add_parser("replay", help="ask for a stage of a study to run once more"))
    replay.add_argument("study", metavar="ID")
    replay.add_argument(
        "--stage",
        choices=[stage.value for stage in Stage],
        help="from this stage on; default: from the one that failed",
    )
    demo = commands.add_parser("demo", help="start, send one phantom study, show what comes out")
    demo.add_argument("--study", metavar="FOLDER", help="your own study of DICOM or NIfTI instead of the phantom")
    demo.add_argument("--out", metavar="DIR", help="where results go; default: <home>/demo/results")
    evaluate = commands.add_parser("evaluate", help="measure the networks on phantoms with known truth", add_help=False)
    evaluate.add_argument("rest", nargs=argparse.REMAINDER, help="see: glioserve evaluate --help")
    token = commands.add_parser("token", help="make a bearer token for the gateway; only its hash is kept")
    token.add_argument("name", metavar="NAME", help="whose token it is")
    token.add_argument("--file", required=True, help="the file that GLIOSERVE_GATEWAY__TOKENS names")
    _navigate(commands.add_parser("navigate", help="send series into an operating room's session"))
    _certificates(commands.add_parser("dev-certs", help="make an authority and certificates for development"))
    _json(commands.add_parser("doctor", help="what this machine lacks, and the command that brings it"))
    return parser.parse_args(argv)


def _submit(parser: argparse.ArgumentParser) -> None:
    _json(parser)
    parser.add_argument("path", metavar="PATH", help="a folder, a ZIP or one file")
    parser.add_argument("--lane", choices=["stat", "routine"], default="routine", help="stat goes first")
    parser.add_argument("--patient", metavar="ID", help="whose study it is; NIfTI does not say")
    parser.add_argument(
        "--acquired", metavar="DATE", help="when it was acquired, YYYY-MM-DD[THH:MM:SS]; NIfTI does not say"
    )
    parser.add_argument(
        "--sequence",
        action="append",
        default=[],
        metavar="SLOT=FILE",
        help="such as t1c=post.nii.gz; the file as named below PATH",
    )
    parser.add_argument("--wait", action="store_true", help="follow the study to its end")
    parser.add_argument("--timeout", type=float, default=1800.0, metavar="S", help="seconds that --wait waits")
    parser.add_argument("--out", metavar="DIR", help="wait, then fetch the results into this folder")


def _navigate(parser: argparse.ArgumentParser) -> None:
    _json(parser)
    parser.add_argument("study", nargs="?", metavar="ID", help="the study it starts from; without: no earlier images")
    parser.add_argument(
        "--series",
        action="append",
        required=True,
        metavar="[SLOT=]PATH",
        help="a NIfTI file or a folder of DICOM, such as t1c=post.nii.gz; repeat it, in the order to send",
    )
    parser.add_argument("--deadline", type=float, default=20.0, metavar="S", help="seconds from the last byte on")
    parser.add_argument("--anatomy-changed", action="store_true", help="earlier images show what is not there any more")
    parser.add_argument("--pose-file", metavar="CSV", help="tool tips (x,y,z) or 4 x 4 poses, RAS mm; asked at the end")
    parser.add_argument("--address", metavar="HOST:PORT", help="another server than this home's")
    parser.add_argument("--out", metavar="DIR", help="final masks as NIfTI")


def _certificates(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", metavar="DIR", help="the folder to write into; what is there is replaced")
    parser.add_argument(
        "--host", action="append", default=[], metavar="NAME", help="another name or address of the servers"
    )
    parser.add_argument("--days", type=int, default=30, choices=range(1, 91), metavar="N", help="1 to 90, default 30")


def _json(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")
    return parser
