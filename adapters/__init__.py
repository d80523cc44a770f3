"""PostgreSQL, Kafka, mail, settings and the command line: everything that touches the world."""
