"""Procrastinate over psycopg, with an async task, which runs in the worker's event loop."""

import asyncio
import os

import long
from procrastinate import App, PsycopgConnector

CHUNK = 1_000

app = App(connector=PsycopgConnector(conninfo=os.environ["DATABASE_URL"]), import_paths=["procrastinate_app"])


@app.task(name="echo")
async def echo(value):
    return value


@app.task(name="rest")
def rest():
    long.rest()


def submit_long():
    with app.open():
        rest.defer()


async def _fill(jobs):
    async with app.open_async():
        for start in range(0, jobs, CHUNK):
            rows = [{"value": ["one", "two", "three"]}] * min(CHUNK, jobs - start)
            await echo.batch_defer_async(*rows)


def fill(jobs):
    asyncio.run(_fill(jobs))
