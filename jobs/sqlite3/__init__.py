"""Django's SQLite backend with a queue in front of the one write lock: `ENGINE = "jobs.sqlite3"`.

SQLite makes a writer that finds the lock taken sleep and look again, after 1 to 100 ms: between two busy writers it idles, and
a third one may wait for long. Here who wants to write takes turns with all other processes and threads of the machine.
"""
