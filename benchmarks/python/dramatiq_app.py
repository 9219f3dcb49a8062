"""Dramatiq over its Redis broker, with the middleware that it comes with."""

import os

import dramatiq
import long
from dramatiq.brokers.redis import RedisBroker

dramatiq.set_broker(RedisBroker(url=os.environ["REDIS_URL"]))


@dramatiq.actor
def echo(*value):
    """Returns nothing: Dramatiq warns at each value that no results backend keeps."""


@dramatiq.actor
def rest():
    long.rest()


def submit_long():
    rest.send()


def fill(jobs):
    for _ in range(jobs):
        echo.send("one", "two", "three")
