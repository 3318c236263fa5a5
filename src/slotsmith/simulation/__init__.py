"""The real provisioner under virtual time: against a simulated cloud and scheduler, with faults, from one seed."""
