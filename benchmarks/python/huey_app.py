"""Huey over Redis. It keeps what a task returned until somebody reads it, unless it is told not to."""

import os

import long
from huey import RedisHuey

huey = RedisHuey("bench", url=os.environ["REDIS_URL"], results=os.environ["KEEP"] == "1")


@huey.task()
def echo(*value):
    return value


@huey.task()
def rest():
    long.rest()


def submit_long():
    rest()


def fill(jobs):
    for _ in range(jobs):
        echo("one", "two", "three")
