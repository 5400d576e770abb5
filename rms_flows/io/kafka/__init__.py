"""Kafka as a source and a sink; its client is imported when it is called."""
