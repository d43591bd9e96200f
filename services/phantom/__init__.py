"""Synthetic gliomas with known truth. Invented from end to end: never patient data, never clinical evidence."""

from services.phantom.dicom import write_dicom
from services.phantom.generate import after_resection, followup, generate
from services.phantom.nifti import write_nifti
from services.phantom.patient import InventedPatient, invented_patient
from services.phantom.spec import SMALL, Genotype, Kind, PhantomSpec, PhantomStudy, Surgery
from services.phantom.vendors import Vendor

__all__ = [
    "SMALL", "Genotype", "InventedPatient", "Kind", "PhantomSpec", "PhantomStudy", "Surgery", "Vendor",
    "after_resection", "followup", "generate", "invented_patient", "write_dicom", "write_nifti",
]  # fmt: skip
