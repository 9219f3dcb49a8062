"""Types of job that only tests need. Those that ship (`echo`) cover most of what tests ask for."""
