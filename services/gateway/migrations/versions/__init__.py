"""One module a revision, in order. `migrations.HEAD` names the last."""
