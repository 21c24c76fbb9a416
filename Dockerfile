# One image for each service, with its own dependencies and nothing else:
#     docker build --build-arg SERVICE=cache --tag tickwire-cache .
ARG PYTHON=3.13

FROM python:${PYTHON}-slim AS build
ARG SERVICE
RUN test -n "${SERVICE}" || { echo "give --build-arg SERVICE=fetcher, streamer, cache or sink"; exit 1; }
RUN python -m venv /opt/tickwire
# The dependencies first: a change of our own code leaves this layer as it is. Versions and hashes are locked.
COPY deploy/requirements/${SERVICE}.lock /build/requirements.lock
RUN /opt/tickwire/bin/pip install --no-cache-dir --no-deps --require-hashes --requirement /build/requirements.lock
COPY pyproject.toml README.md LICENSE /build/
COPY shared /build/shared
COPY services /build/services
COPY simulator /build/simulator
RUN /opt/tickwire/bin/pip install --no-cache-dir --no-deps /build \
    && /opt/tickwire/bin/python -m compileall -q /opt/tickwire/lib

FROM python:${PYTHON}-slim
ARG SERVICE
LABEL org.opencontainers.image.title="tickwire-${SERVICE}" org.opencontainers.image.licenses="Apache-2.0"
RUN useradd --system --uid 10001 --home-dir /data --create-home tickwire
COPY --from=build /opt/tickwire /opt/tickwire
ENV PATH=/opt/tickwire/bin:${PATH} \
    PYTHONUNBUFFERED=1 \
    TICKWIRE_DATA_DIR=/data \
    TICKWIRE_LOG_FORMAT=json \
    TICKWIRE_METRICS_HOST=0.0.0.0 \
    TICKWIRE_METRICS_PORT=9100
USER tickwire
WORKDIR /data
EXPOSE 9100
# A service that finishes what it accepted takes longer than Docker's ten seconds at times: see stop_grace_period.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=6s --start-period=20s --retries=3 CMD ["tickwire", "health"]
ENTRYPOINT ["tickwire"]
