"""One HTML file that tells what a study found: no network, no server, all pictures inside."""

from wsss.report.page.build import write_page

__all__ = ["write_page"]
