"""Stage COMPARE: the patient over time. One study against the latest one acquired before it."""
