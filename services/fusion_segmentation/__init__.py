"""Stage SEGMENT: fuses the sequences that exist into one mask with its uncertainty."""
