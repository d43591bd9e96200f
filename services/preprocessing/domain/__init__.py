"""Rules of the preparation, pure: identification, choice, similarity, brain mask, judgement. No I/O, no framework."""
