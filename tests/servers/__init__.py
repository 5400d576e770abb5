"""Real servers for tests and people: jars through Maven, no container; loopback, free ports, temporary data."""
