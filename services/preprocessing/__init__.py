"""Preparation of a study: from DICOM or NIfTI as received to registered, standardised volumes in the canonical box."""
