# One image for each service, with its own dependencies and nothing else:
#     docker build --build-arg SERVICE=cache --tag tickwire-cache .
# The oldest Python that pyproject.toml allows, which the tests run on.
ARG PYTHON=3.11

FROM python:${PYTHON}-slim-bookworm AS build
ARG SERVICE
# Of tickwire: the tag, because the context has no repository. Such as: --build-arg VERSION=$(git describe --tags)
ARG VERSION=
RUN test -n "${SERVICE}" || { echo "give --build-arg SERVICE=fetcher, streamer, cache, sink, archive or web"; exit 1; }
# pip and the build tools are not copied. All versions and hashes are locked.
COPY deploy/requirements/build.lock /build/build.lock
RUN python -m venv /opt/build \
    && /opt/build/bin/pip install --no-cache-dir --no-deps --require-hashes --requirement /build/build.lock \
    && python -m venv --without-pip /opt/tickwire
# Dependencies first: a change of our own code does not rebuild this layer.
COPY deploy/requirements/${SERVICE}.lock /build/requirements.lock
RUN /opt/build/bin/pip --python /opt/tickwire/bin/python install --no-cache-dir --no-deps --require-hashes \
    --requirement /build/requirements.lock
COPY pyproject.toml README.md LICENSE /build/source/
COPY shared /build/source/shared
COPY cli /build/source/cli
COPY services /build/source/services
COPY simulator /build/source/simulator
RUN SETUPTOOLS_SCM_PRETEND_VERSION_FOR_TICKWIRE="${VERSION}" \
    /opt/build/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /build/wheels /build/source \
    && /opt/build/bin/pip --python /opt/tickwire/bin/python install --no-cache-dir --no-deps --no-index /build/wheels/*.whl

FROM python:${PYTHON}-slim-bookworm
ARG SERVICE
LABEL org.opencontainers.image.title="tickwire-${SERVICE}" org.opencontainers.image.licenses="Apache-2.0"
# Without `--create-home`, which copies the files of /etc/skel: volumes start as a copy of this folder.
RUN useradd --system --uid 10001 --home-dir /data --no-create-home tickwire \
    && install --directory --owner tickwire --mode 0755 /data
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
# Finishing accepted work may take longer than Docker's ten seconds: see stop_grace_period.
STOPSIGNAL SIGTERM
# Instead of `tickwire health`, because loading the command line costs more than the request.
HEALTHCHECK --interval=10s --timeout=6s --start-period=20s --retries=3 CMD ["python", "-m", "tickwire.observe.healthcheck"]
ENTRYPOINT ["tickwire"]
