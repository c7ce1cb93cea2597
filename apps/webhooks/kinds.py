"""The types of events, once: their names and when they happen."""

from collections.abc import Mapping

UPLOAD_COMPLETED = "upload.completed"
UPLOAD_NEEDS_ATTENTION = "upload.needs_attention"
EXPORT_COMPLETED = "export.completed"
PRICE_ANOMALY = "price.anomaly"
STOCK_NEGATIVE = "stock.negative"
MOST_PRODUCTS = 100  # of one such event
TEST = "webhook.test"  #: sent when it is asked for, whatever an endpoint subscribes to

KINDS: Mapping[str, str] = {
    UPLOAD_COMPLETED: "all files of an upload have ended, and every line has landed",
    UPLOAD_NEEDS_ATTENTION: "all files of an upload have ended, and lines or files of it have not"
    " landed",
    EXPORT_COMPLETED: "an export is whole and can be downloaded",
    PRICE_ANOMALY: "a price call made a change that is an anomaly",
    STOCK_NEGATIVE: "a file or a call took levels of products below 0 that were not before",
}
