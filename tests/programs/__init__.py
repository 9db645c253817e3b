"""Programs as users write them, from their published mathematics, each held against a closed form,
SciPy or JAX."""
