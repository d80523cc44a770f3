"""Kafka: commands in, answers and events out; PostgreSQL is the truth, and what is here may be lost or repeated."""


class KafkaAway(Exception):
    """The brokers can't be reached, or refuse; nothing is lost, and the same work can be done again."""
