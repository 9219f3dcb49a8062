"""The project's settings as the type checker's plugin may import them: nothing is started or needed."""

import os
import tempfile

os.environ.update(
    ENV_FILE=os.devnull, DEBUG="1", SECRET_KEY="types", JOBS_DATA_DIR=tempfile.gettempdir() + "/jobs-typing"
)

from jobsite.settings import *  # noqa: F403
