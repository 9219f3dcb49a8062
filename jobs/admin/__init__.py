"""The admin: every job's life for people, and the few things that an operator may do.

Edges only: what happens is decided by the lifecycle table and done by `operate`, `schedules` and
`api.keys`. No page has an inline script, style or event handler, so that all of them work under
`Content-Security-Policy: default-src 'self'`.
"""

from jobs.admin import access, effects, fleet, jobs, keys, overview, schedules

__all__ = ["access", "effects", "fleet", "jobs", "keys", "overview", "schedules"]
