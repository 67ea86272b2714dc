"""Compares dflockd with the least a server can cost, with Redis, and with the original."""
