"""Bank statements: what they hold, which orders it is for, and its way into the books."""
