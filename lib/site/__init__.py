"""The workbook as pages that need neither a server nor a network: `python -m lib.book site`."""

from lib.site.build import BOOK, render

__all__ = ["BOOK", "render"]
