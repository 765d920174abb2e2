import importlib.util
from pathlib import Path

SPEC = importlib.util.spec_from_file_location("worlds", Path(__file__).parent / "worlds.py")
