"""Every metric of the product, by name, with labels and meaning. Dashboards, rules and docs are checked against it.

Labels are bounded sets (service, stage, lane, outcome, model, transport): never a study, a patient or a file.
Buckets follow the objectives: seconds for the theatre, tens of seconds for the ward.
"""

from __future__ import annotations

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

STAGE_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2, 3, 5, 8, 13, 21, 30, 60, 120, 300, 600)
MASK_BUCKETS = (0.25, 0.5, 1, 2, 3, 5, 8, 13, 21, 30)
POSE_BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1)


class Metrics:
    """The metrics of one process. Tests give it a registry of their own."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self.registry = registry
        self.stage_seconds = Histogram(
            "glioserve_stage_seconds",
            "Time inside a stage's handler, by lane",
            ["stage", "lane"],
            buckets=STAGE_BUCKETS,
            registry=registry,
        )
        self.outcomes = Counter(
            "glioserve_outcomes", "Outcomes emitted, by status", ["stage", "lane", "status"], registry=registry
        )
        self.retries = Counter(
            "glioserve_retries", "Requests sent to the retry topic", ["stage", "lane"], registry=registry
        )
        self.dead_letters = Counter(
            "glioserve_dead_letters",
            "Messages sent to the dead letters, by reason",
            ["topic", "code"],
            registry=registry,
        )
        self.lag_seconds = Gauge(
            "glioserve_lag_seconds", "Age of the oldest message not yet done", ["topic"], registry=registry
        )
        self.backlog = Gauge(
            "glioserve_backlog", "Requests on the bus that no stage has done yet", ["stage", "lane"], registry=registry
        )
        self.brake = Gauge(
            "glioserve_dead_letter_brake",
            "1 while a worker refuses to go on because messages fail unexpectedly",
            ["group"],
            registry=registry,
        )
        self.triton_seconds = Histogram(
            "glioserve_triton_seconds",
            "Time of a call to Triton, by model and transport",
            ["model", "transport"],
            buckets=STAGE_BUCKETS,
            registry=registry,
        )
        self.triton_failures = Counter(
            "glioserve_triton_failures",
            "Calls to Triton that failed: rejected, deadline, unavailable, invalid, internal",
            ["model", "kind"],
            registry=registry,
        )
        self.triton_pending = Gauge(
            "glioserve_triton_pending", "Calls to Triton in flight from this process", ["model"], registry=registry
        )
        self.triton_canary = Gauge(
            "glioserve_triton_canary", "1 while the last canary inference succeeded", ["model"], registry=registry
        )
        self.http_requests = Counter(
            "glioserve_http_requests",
            "HTTP answers, by route and status",
            ["route", "method", "status"],
            registry=registry,
        )
        self.http_seconds = Histogram(
            "glioserve_http_seconds", "Time of an HTTP answer", ["route", "method"], registry=registry
        )
        self.bytes_in = Counter("glioserve_intake_bytes", "Bytes received, by door", ["door"], registry=registry)
        self.uploads = Counter(
            "glioserve_uploads", "Uploads, by door and how they ended", ["door", "result"], registry=registry
        )
        self.studies = Gauge("glioserve_studies", "Current study versions, by state", ["state"], registry=registry)
        self.outbox_pending = Gauge(
            "glioserve_outbox_pending", "Requests written and not yet on the bus", registry=registry
        )
        self.free_bytes = Gauge(
            "glioserve_free_bytes", "Room left for blobs, where the store knows it", ["folder"], registry=registry
        )
        self._theatre(registry)

    def _theatre(self, registry: CollectorRegistry) -> None:
        self.navigation_sessions = Gauge(
            "glioserve_navigation_sessions", "Open sessions of the operating room", registry=registry
        )
        self.navigation_mask_seconds = Histogram(
            "glioserve_navigation_mask_seconds",
            "Last chunk of a series to the mask sent: coarse or final",
            ["kind"],
            buckets=MASK_BUCKETS,
            registry=registry,
        )
        self.navigation_answers = Counter(
            "glioserve_navigation_answers",
            "Series answered: complete, degraded, refused or cancelled, and why",
            ["result", "reason"],
            registry=registry,
        )
        self.navigation_deadline_missed = Counter(
            "glioserve_navigation_deadline_missed", "Series answered after their deadline", registry=registry
        )
        self.navigation_memory_bytes = Gauge(
            "glioserve_navigation_memory_bytes", "Bytes that sessions hold, tmpfs included", registry=registry
        )
        self.navigation_chunks = Counter(
            "glioserve_navigation_chunk_bytes", "Bytes of series received in chunks", registry=registry
        )
        self.navigation_spool = Gauge(
            "glioserve_navigation_spool", "Results that the gateway has not acknowledged yet", registry=registry
        )
        self.pose_seconds = Histogram(
            "glioserve_pose_seconds", "Time inside a pose's answer", buckets=POSE_BUCKETS, registry=registry
        )
        self.poses = Counter("glioserve_poses", "Poses: fresh, stale or refused", ["result"], registry=registry)
        self.theatre_lock_held = Gauge(
            "glioserve_theatre_lock_held", "1 while the theatre holds the machine's compute", registry=registry
        )
        self.theatre_yield_seconds = Counter(
            "glioserve_theatre_yield_seconds", "Time a ward worker waited for the theatre", ["stage"], registry=registry
        )
