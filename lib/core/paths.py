"""Names the workbook's folders, and shortens paths."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = ROOT / "notebooks"
PARAMS = ROOT / "params"
OUTPUTS = ROOT / "outputs"
BOOK = OUTPUTS / "book"  # the workbook as pages
FILMS = BOOK / "films"  # what views leave behind while chapters are executed


def shown(path: Path) -> Path:
    """Shortens a path as seen from the working directory."""
    path = path.absolute()
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def from_root(path: Path) -> str:
    """Returns a path as a notebook's kernel sees it, which works in the repository's root."""
    path = path.absolute()
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)
