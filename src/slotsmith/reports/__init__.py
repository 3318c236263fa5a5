"""How a pool stands, told from its summary and its record: as data, and as sentences for people."""
