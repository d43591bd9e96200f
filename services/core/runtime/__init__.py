"""What every process has: settings, home folder, clock, failpoints, life cycle, stage runs and their doors."""
