"""report.html of a finished run: its sections, its page and the verdict in words."""
