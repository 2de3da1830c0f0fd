"""What a finished run folder holds, read for its report."""
