# The service: web server, Celery workers and beat are one image with different commands.
# docker-compose.yml starts them; docs/containers.md says how, and what production changes.
ARG PYTHON=3.11.14-slim-bookworm

FROM python:${PYTHON} AS packages
WORKDIR /packages
RUN python -m venv /venv
# The compiler stays behind in this stage; what it makes of the native scanner goes on.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
COPY requirements.txt ./
RUN /venv/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes -r requirements.txt
COPY pyproject.toml README.md LICENSE ./
COPY headrace ./headrace
RUN /venv/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps --no-build-isolation -e .

FROM python:${PYTHON}
# psql is what the documented `manage.py dbshell` starts. Not pinned: Debian removes a build when the
# next one comes.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends postgresql-client \
    && rm -rf /var/lib/apt/lists/*
# All state is in /data, which web, workers and beat share; a new volume takes its owner from here.
# The program cannot write its own folder, only what it generates there.
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /data headrace \
    && install --directory --owner headrace --group headrace /data /app/generated_data
COPY --from=packages /venv /venv
WORKDIR /app
COPY . .
COPY --from=packages /packages/headrace/pipeline/_scanner.*.so ./headrace/pipeline/
RUN /venv/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps --no-build-isolation -e .
ENV PATH=/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HEADRACE_HOME=/data \
    HEADRACE_HOST=0.0.0.0
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "scripts/is_ready.py"]
CMD ["python", "manage.py", "serve"]
