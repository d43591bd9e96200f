"""Pure rules of a report: what the result is, which slices to show, where a mask lies on DICOM planes. No I/O."""
