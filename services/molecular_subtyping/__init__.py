"""Stage SUBTYPE: calibrates the marker evidence of the segmentation, decides or abstains, and words what follows."""
