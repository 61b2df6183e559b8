# syntax=docker/dockerfile:1
# One image: the server with all that it needs, run by nobody in particular. docs/deployment.md tells how to start it.

# The version of Python that the tests run on.
FROM python:3.11-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY config config
COPY migrations migrations
COPY heist heist
RUN python -m venv /opt/heist \
 && /opt/heist/bin/pip install --no-cache-dir --disable-pip-version-check ".[postgres,otel]"

FROM python:3.11-slim
RUN useradd --uid 10001 --no-create-home --home-dir /data --shell /usr/sbin/nologin heist \
 && install --directory --owner=heist --group=heist --mode=0700 /data
COPY --from=build /opt/heist /opt/heist
# The layer prod listens on every address of the container, and so asks for a HEIST_SECRET.
ENV PATH=/opt/heist/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    HEIST_ENV=prod \
    HEIST_PORT=8008 \
    HEIST_DATABASE_URL=sqlite:////data/heist.db
USER 10001
WORKDIR /data
VOLUME /data
EXPOSE 8008
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen(f\"http://127.0.0.1:{os.environ['HEIST_PORT']}/health\", timeout=4)"]
CMD ["heist", "serve"]
