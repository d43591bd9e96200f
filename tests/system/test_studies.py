"""A study goes in, a result set comes out: through real processes, a real Triton and the embedded bus."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest

from services.core.contracts.enums import Modality
from services.core.contracts.errors import Refused
from services.phantom import SMALL, generate, invented_patient, write_dicom, write_nifti
from tests.system.invariants import assert_one_current_result, bytes_outside_the_vault
from tests.system.stack import Stack, metrics_of

pytestmark = pytest.mark.system


def fetched(stack: Stack, study: str, out: Path) -> dict[str, Path]:
    """All current results in a folder, by name."""
    out.mkdir(exist_ok=True)
    client = stack.client()
    names = [item["name"] for item in client.results(study)["results"]]
    for name in names:
        client.fetch(f"/studies/{study}/results/{name}", out / name)
    client.close()
    return {name: out / name for name in names}


def image(path: Path) -> nib.Nifti1Image:
    """A NIfTI-1 image with its grid."""
    loaded = nib.load(path)
    assert isinstance(loaded, nib.Nifti1Image)
    return loaded


def test_a_nifti_study_comes_out_with_a_mask_on_its_own_grid(stack: Stack, tmp_path: Path) -> None:
    write_nifti(generate(1, SMALL), tmp_path / "study")
    study = stack.submit(tmp_path / "study", patient="n-1", acquired="2026-02-01")
    document = stack.wait_done(study)
    assert document["completeness"] == "complete"
    results = fetched(stack, study, tmp_path / "out")
    assert {"report.json", "report.pdf", "key-images.png", "segmentation.nii.gz", "provenance.json"} == set(results)
    sent = image(tmp_path / "study" / "t1c.nii.gz")
    mask = image(results["segmentation.nii.gz"])
    assert mask.shape == sent.shape
    np.testing.assert_allclose(mask.affine, sent.affine, atol=1e-4)
    report = json.loads(results["report.json"].read_text())
    voxel_ml = abs(np.linalg.det(mask.affine[:3, :3])) / 1000
    wt_ml = np.isin(np.asarray(mask.dataobj), (1, 2, 3)).sum() * voxel_ml
    assert report["volumes_ml"]["WT"] == pytest.approx(wt_ml)
    assert "synthetic training data" in report["disclaimer"]
    assert_one_current_result(stack, [study])


def test_a_dicom_study_comes_out_with_a_segmentation_that_names_its_patient(stack: Stack, tmp_path: Path) -> None:
    patient = invented_patient(2)
    write_dicom(generate(2, SMALL), tmp_path / "study", patient)
    study = stack.submit(tmp_path / "study")
    stack.wait_done(study)
    results = fetched(stack, study, tmp_path / "out")
    segmentation = pydicom.dcmread(results["segmentation.dcm"])
    assert segmentation.Modality == "SEG"
    assert segmentation.PatientID == patient.patient_id
    assert str(segmentation.PatientName) == patient.name
    assert segmentation.AccessionNumber == patient.accession
    assert str(segmentation.ReferringPhysicianName) == patient.physician
    assert results["report.pdf"].read_bytes().startswith(b"%PDF")


def test_the_same_study_sent_twice_runs_once(stack: Stack, tmp_path: Path) -> None:
    write_nifti(generate(3, SMALL), tmp_path / "study")
    first = stack.submit(tmp_path / "study", patient="n-3", acquired="2026-02-01")
    done = stack.wait_done(first)
    again = stack.submit(tmp_path / "study", patient="n-3", acquired="2026-02-01")
    assert again == first
    assert stack.study(first)["version"] == done["version"]
    assert_one_current_result(stack, [first])


def test_a_missing_t1c_degrades_the_result_and_says_so(stack: Stack, tmp_path: Path) -> None:
    without = replace(SMALL, sequences=(Modality.T1N, Modality.T2W, Modality.T2F))
    write_nifti(generate(4, without), tmp_path / "study")
    study = stack.submit(tmp_path / "study")
    document = stack.wait_done(study)
    assert document["completeness"] == "degraded"
    report = json.loads(fetched(stack, study, tmp_path / "out")["report.json"].read_text())
    assert any("T1C" in reason["code"] for reason in report["reasons"])


def test_bad_input_is_refused_with_a_reason_and_the_next_study_is_served(stack: Stack, tmp_path: Path) -> None:
    write_nifti(generate(5, SMALL), tmp_path / "good")
    bad = tmp_path / "bad"
    bad.mkdir()
    whole = (tmp_path / "good" / "t1c.nii.gz").read_bytes()
    (bad / "t1c.nii.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(Refused) as refusal:
        stack.submit(bad)
    assert refusal.value.code
    assert refusal.value.message
    study = stack.submit(tmp_path / "good")
    assert stack.wait_done(study)["completeness"] == "complete"


def test_a_follow_up_is_compared_with_the_earlier_study(stack: Stack, tmp_path: Path) -> None:
    for seed, name in ((6, "now"), (7, "before")):
        write_nifti(generate(seed, SMALL), tmp_path / name)
    now = stack.submit(tmp_path / "now", patient="n-6", acquired="2026-05-01")
    baseline = stack.wait_done(now)
    before = stack.submit(tmp_path / "before", patient="n-6", acquired="2026-02-01")
    stack.wait_done(before)
    document = stack.wait_revision(now, baseline["revision"] + 1)
    report = json.loads(fetched(stack, now, tmp_path / "out")["report.json"].read_text())
    assert report["revision"] == document["revision"]
    assert report["predecessor"] is not None
    assert report["comparison"]["prior_study"] == before
    assert report["comparison"]["interval_days"] == 89


def test_invented_names_appear_nowhere_outside_the_vault(stack: Stack, tmp_path: Path) -> None:
    patient = invented_patient(8)
    write_dicom(generate(8, SMALL), tmp_path / "study", patient)
    stack.wait_done(stack.submit(tmp_path / "study"))
    pages = {f"metrics of {service}": metrics_of(stack.home, service).encode() for service in ("gateway", "reporting")}
    found = [
        (place, text)
        for place, data in (bytes_outside_the_vault(stack.home) | pages).items()
        for text in patient.identity
        if text.encode() in data
    ]
    assert not found


def test_one_trace_spans_gateway_stages_and_back(stack: Stack, tmp_path: Path) -> None:
    write_nifti(generate(9, SMALL), tmp_path / "study")
    study = stack.submit(tmp_path / "study")
    stack.wait_done(study)
    traces = {
        service: {
            line["trace_id"]
            for text in (stack.home.logs / f"{service}.jsonl").read_text().splitlines()
            if (line := json.loads(text)).get("study") == study and "trace_id" in line
        }
        for service in ("gateway", "preprocessing", "fusion_segmentation", "reporting")
    }
    assert set.intersection(*traces.values()), f"no trace is shared: {traces}"
