"""Measurements of gradloom against eager execution, NumPy by hand, torch and jax."""
