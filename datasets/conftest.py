"""Makes the builders importable as TFDS imports them: each folder here is a package."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
