"""What operations see, as code: rules and dashboards over the names of `services.core.telemetry.metrics`."""
