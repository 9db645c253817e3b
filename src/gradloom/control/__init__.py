"""Loops and branches: rows that hold graphs, and whose derivatives differentiate these."""
