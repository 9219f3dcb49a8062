"""Handlers that do what handlers should not do, and that other people's handlers do all the same."""
