"""What Celery runs by the clock: both queue a rollup for whoever has something to recompute.

Days and hours are recomputed by one job, from one look at the rows: there is nothing that one
would do without the other. Figures do not wait for the clock either: a file that lands queues it.
"""

from apps.core.broker import app
from apps.metrics import jobs


@app.task(name="generate_hourly_metrics")
def generate_hourly_metrics() -> None:
    jobs.queue_all()


@app.task(name="generate_daily_metrics")
def generate_daily_metrics() -> None:
    jobs.queue_all()
