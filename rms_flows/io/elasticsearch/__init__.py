"""Elasticsearch as the repository of observations and reports; its client is imported when it is called."""
