"""Servers that are asked by HTTP, once or again and again, for what is new."""
