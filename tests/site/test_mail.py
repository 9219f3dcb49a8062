"""Development's outbox: one file per mail, whole, private."""

from __future__ import annotations

import stat

from django.core.mail import EmailMessage, get_connection


def test_each_mail_is_one_private_file(tmp_path, settings):
    settings.EMAIL_FILE_PATH = str(tmp_path / "outbox")
    backend = get_connection("jobsite.mail.OutboxBackend")
    mails = [EmailMessage(f"Subject {number}", "Grüße", "a@example.com", ["b@example.com"]) for number in (1, 2)]
    assert backend.send_messages(mails) == 2

    files = sorted((tmp_path / "outbox").iterdir())
    assert len(files) == 2
    assert {file.suffix for file in files} == {".eml"}
    assert all(stat.S_IMODE(file.stat().st_mode) == 0o600 for file in files)
    assert {"Subject 1", "Subject 2"} == {
        line[9:] for f in files for line in f.read_text().splitlines() if "Subject" in line
    }
