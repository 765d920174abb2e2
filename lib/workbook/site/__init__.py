"""The workbook as pages that need neither a server nor a network: `python -m lib.workbook.book site`."""

from lib.workbook.site.build import BOOK, render

__all__ = ["BOOK", "render"]
