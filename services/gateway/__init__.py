"""The hospital's door: uploads, study state, vault, progress, results. Alone in owning state (architecture rule 5)."""
