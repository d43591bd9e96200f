"""Content-addressed blobs and named documents: the port, and its adapters (local directory, S3, bounded tmpfs)."""
