"""Makes the synthetic run folder importable and shares one of each kind."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
