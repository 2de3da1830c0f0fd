"""The page report.html of a finished run, and the verdict in words."""
