"""Decisions: pure functions of frozen values. No I/O, no clock, no chance, no logging."""
