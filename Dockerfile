# One image for web, worker, migrate and demo; docker-compose.yml says what each runs.

# What is compiled: mysqlclient (no Linux wheels). Every package is checked by its hash, the build's own too.
FROM python:3.13-slim AS builder
# No pins (DL3008): Debian keeps one version of a package in a release, so a pin breaks with each security fix.
# python3-dev: the headers, where the base's Python is Debian's own.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev libmariadb-dev pkg-config python3-dev
WORKDIR /build
# --build-arg LOCK=requirements-otel.lock: one that can send spans (docs/tracing.md).
ARG LOCK=requirements.lock
COPY requirements.lock requirements-otel.lock deploy/build-requirements.lock ./
RUN pip install --root-user-action ignore --no-cache-dir --require-hashes -r build-requirements.lock \
    && pip wheel --no-cache-dir --require-hashes --no-deps --only-binary :all: --no-binary mysqlclient \
        --no-build-isolation --wheel-dir /wheels -r "$LOCK" \
    && python -m venv --without-pip /venv \
    && pip --python /venv/bin/python install --no-cache-dir --no-index --no-deps --no-compile /wheels/*.whl

FROM python:3.13-slim AS cron
COPY deploy/fetch-supercronic.sh /
RUN /fetch-supercronic.sh /cron

FROM python:3.13-slim
LABEL org.opencontainers.image.title="Tasker Worker" \
    org.opencontainers.image.description="One operation, several services, strict order: requests in a MySQL table, moved along by cron"
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends libmariadb3 \
    && apt-get clean && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 tasker \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin tasker
COPY --from=cron /cron/supercronic /usr/local/bin/
COPY --from=builder /venv /venv
WORKDIR /app
COPY . .
ENV PATH="/venv/bin:$PATH" PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
# Bytecode of all that is imported, Python's own library too: a root that is read-only keeps none, and passes start often.
RUN python -c 'import compileall, re, sys, sysconfig; \
    library = sysconfig.get_path("stdlib"); \
    skipped = re.compile("/(site|dist)-packages/|/(test|idlelib|ensurepip|lib2to3)/"); \
    compileall.compile_dir(library, quiet=2, rx=skipped); \
    [compileall.compile_dir(folder, quiet=1) or sys.exit(1) for folder in ("/venv", "/app")]'
USER 10001:10001
HEALTHCHECK --interval=5s --timeout=5s --start-period=30s CMD ["python", "deploy/check_heartbeat.py"]
CMD ["gunicorn", "-c", "deploy/gunicorn.conf.py", "tasker_site.wsgi"]
