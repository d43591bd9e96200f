"""Pure rules from evidence to decisions and words."""
