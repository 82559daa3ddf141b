"""Numbers and figures of a comparison as one HTML page a person opens."""

from v1builder.report.page import write_report

__all__ = ["write_report"]
