"""Writes the workbook as pages that need no server and no network: `lib.workbook.book site`."""

from lib.workbook.site.build import render

__all__ = ["render"]
