"""The durable log between gateway and stages: the port, the embedded log, Kafka, and the consumer loop."""
