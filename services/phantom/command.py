"""The command line of the phantom: arguments to a spec, a spec to files."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from services.phantom.dicom import write_dicom
from services.phantom.generate import generate
from services.phantom.nifti import write_nifti
from services.phantom.patient import invented_patient
from services.phantom.spec import Kind, PhantomSpec
from services.phantom.vendors import Vendor


def main(arguments: Sequence[str]) -> int:
    """Writes the study and prints its truth as JSON. Returns the exit code."""
    given = _parser().parse_args(arguments)
    try:
        spec = PhantomSpec(
            kind=Kind(given.kind), volume_ml=given.volume_ml, spacing_mm=given.spacing_mm, skull=given.skull,
            misalignment_mm=given.misalignment_mm, thick_mm=given.thick_mm,
        )  # fmt: skip
        study = generate(given.seed, spec)
    except ValueError as error:
        sys.stderr.write(f"phantom: {error}\n")
        return 2
    if given.format == "dicom":
        files = write_dicom(study, given.folder, invented_patient(given.seed), Vendor(given.vendor))
    else:
        files = write_nifti(study, given.folder, truth=given.truth)
    truth = {
        "synthetic": True,
        "files": len(files),
        "volumes_ml": study.truth_ml,
        "genotype": None if study.genotype is None else asdict(study.genotype),
        "acquired_at": study.acquired_at.isoformat(),
    }
    sys.stdout.write(json.dumps(truth, indent=2) + "\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m services.phantom", description=__doc__)
    parser.add_argument("seed", type=int)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--format", choices=["dicom", "nifti"], default="dicom")
    parser.add_argument("--kind", choices=[str(kind) for kind in Kind], default=str(Kind.GLIOBLASTOMA))
    parser.add_argument("--vendor", choices=[str(vendor) for vendor in Vendor], default=str(Vendor.SIEMENS))
    parser.add_argument("--volume-ml", type=float, help="whole tumour")
    parser.add_argument("--spacing-mm", type=float, default=1.0)
    parser.add_argument("--thick-mm", type=float, help="slice spacing of t2w and t2f")
    parser.add_argument("--misalignment-mm", type=float, default=0.0)
    parser.add_argument("--skull", action="store_true", help="with scalp, skull, eyes and neck")
    parser.add_argument("--truth", action="store_true", help="NIfTI: labels and brain mask too")
    return parser
