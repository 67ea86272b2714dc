"""Compares dflockd with the ceiling, with Redis, and with the original server."""
