"""The report stage: one result of a study, written as JSON, PDF, DICOM SEG, NIfTI and provenance."""
