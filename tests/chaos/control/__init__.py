"""The control run: the same clients, faults and rules on plain RQ and rq-scheduler, as they come.

Default is: `rq worker` on its default queue, a process for each job, no `Retry`, results kept for 500 s, `rqscheduler` looking
once a minute. Where a default has a choice, the one that favours RQ is taken: one queue (its reliable path: with several a
worker takes ids without a trace), as many workers as our two have threads, faults of processes for two of them only, the
broker with its append-only file, and `Retry` for jobs that are known to fail.
`rq-retry` gives every job one.
"""
