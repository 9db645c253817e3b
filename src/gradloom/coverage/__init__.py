"""What gradloom covers: its public functions with the facts that tracing them shows, and the names
of the Python Array API standard and of NumPy that it has, or has not and why."""
