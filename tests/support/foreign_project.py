"""A Django project of somebody else, written into a folder: its own settings, its own work for RQ, and our app beside it.

Nothing of `jobsite` is in it. It has the database and the Redis of the test run, so that the test's process sees both.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from jobsite import broker
from tests.support import sandbox
from tests.support.processes import ROOT, Process
from tests.support.world import World

SETTINGS = """
import os
import dj_database_url

SECRET_KEY = "theirs"
USE_TZ = True
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth", "jobs", "django_rq", "theirs"]
DATABASES = {"default": dj_database_url.parse(os.environ["DATABASE_URL"])}
if "sqlite" in DATABASES["default"]["ENGINE"]:
    DATABASES["default"]["OPTIONS"] = {"transaction_mode": "IMMEDIATE", "timeout": 5}
JOBS_DEMO = True
RQ_SHOW_ADMIN_LINK = False
REDIS = {"URL": os.environ["THEIR_REDIS"]}
RQ_QUEUES = {"default": REDIS, "legacy": REDIS, "high": REDIS}
"""

WORK = """
from django_rq import job

def touch(path, word="done"):
    with open(path, "a") as file:
        file.write(word)
    return word

def fail():
    raise ValueError("as always")

@job("legacy")
def decorated(path):
    return touch(path, "decorated")

class OddHandler(__import__("logging").Handler):
    def emit(self, record):
        raise RuntimeError("a handler of the project's log")
"""

MANAGE = """
import os, sys
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "their_settings")
from django.core.management import execute_from_command_line
execute_from_command_line(sys.argv)
"""


class Theirs:
    def __init__(self, folder: Path, world: World, more_settings: str = "") -> None:
        self.folder = folder
        self.world = world
        (folder / "theirs").mkdir()
        (folder / "theirs" / "__init__.py").touch()
        (folder / "theirs" / "work.py").write_text(WORK)
        (folder / "manage.py").write_text(MANAGE)
        data_dir = f"\nJOBS_DATA_DIR = {str(folder / 'var')!r}\n"
        (folder / "their_settings.py").write_text(SETTINGS + data_dir + more_settings)

    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("JOBS_", "REDIS_"))}
        return {
            **kept,
            **sandbox.children_environment(),
            "THEIR_REDIS": broker.url(self.world.data_dir),
            "DJANGO_SETTINGS_MODULE": "their_settings",
            "PYTHONPATH": f"{self.folder}{os.pathsep}{ROOT}",
            "PYTHONUNBUFFERED": "1",
            "PYTHONWARNINGS": "ignore",
        }

    def python(self, code: str) -> Any:
        """Run code in the project; what it gives to `answer`. Its errors are this test's."""
        head = (
            "import django, json, sys\ndjango.setup()\n"
            "def answer(found): sys.stdout.write('\\nANSWER ' + json.dumps(found, default=str))\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", head + code],
            env=self.environment(), cwd=self.folder, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        self.log = done.stderr
        return json.loads(done.stdout.rpartition("ANSWER ")[2]) if "ANSWER " in done.stdout else None

    def manage(self, *arguments: str) -> Process:
        log_path = self.folder / f"{len(self.world.processes)}-{arguments[0]}.log"
        executable = [sys.executable, str(self.folder / "manage.py")]
        process = Process(list(arguments), self.environment(), log_path, executable=executable, cwd=self.folder)
        self.world.processes.append(process)
        return process

    def run(self, *arguments: str, timeout_s: float = 60) -> tuple[int, str]:
        process = self.manage(*arguments)
        return process.wait(timeout_s), process.log
