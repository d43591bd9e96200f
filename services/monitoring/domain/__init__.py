"""Pure rules: which earlier study to compare with, what changed, how to say it."""
