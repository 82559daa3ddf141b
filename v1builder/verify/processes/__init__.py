"""Scripts that run reference software in a process of their own."""
