"""Several replicas of the daemon over one store, of which one leads."""
