"""Any other scheduler: its view is read from a URL, or printed by a program. `docs/connectors.md` is the guide."""
