"""What must survive a restart: intents, instances, decisions, statistics."""
