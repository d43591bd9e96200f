"""Pure steps of the segmentation: arrays in, arrays out, no I/O."""
