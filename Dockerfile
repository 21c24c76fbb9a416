# One image for each service, with its own dependencies and nothing else:
#     docker build --build-arg SERVICE=cache --build-arg VERSION=$(deploy/version.sh) --tag tickwire-cache .
# The oldest Python that pyproject.toml allows, which the tests run on.
ARG PYTHON=3.11

FROM python:${PYTHON}-slim-bookworm AS build
# Nothing of it is copied into an image. All versions and hashes are locked.
COPY deploy/requirements/build.lock /build/build.lock
RUN python -m venv /opt/build \
    && /opt/build/bin/pip install --no-cache-dir --no-compile --no-deps --require-hashes --requirement /build/build.lock

# Our own code, built once for all services.
FROM build AS wheel
# Of tickwire, because the context has no repository: --build-arg VERSION=$(deploy/version.sh), which `make .env` writes too.
ARG VERSION
RUN test -n "${VERSION}" || { echo "give --build-arg VERSION=\$(deploy/version.sh), or run make .env"; exit 1; }
COPY pyproject.toml README.md LICENSE /build/source/
COPY shared /build/source/shared
COPY cli /build/source/cli
COPY services /build/source/services
COPY simulator /build/source/simulator
# Without the name of the project: hatch-vcs asks for that of no project.
RUN SETUPTOOLS_SCM_PRETEND_VERSION="${VERSION}" \
    /opt/build/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /build/wheels /build/source

FROM build AS locked
ARG SERVICE
RUN test -n "${SERVICE}" || { echo "give --build-arg SERVICE=fetcher, streamer, cache, sink, archive or web"; exit 1; }
COPY deploy/requirements/${SERVICE}.lock /build/requirements.lock

FROM python:${PYTHON}-slim-bookworm
# Without `--create-home`, which copies the files of /etc/skel: volumes start as a copy of this folder.
RUN useradd --system --uid 10001 --home-dir /data --no-create-home tickwire \
    && install --directory --owner tickwire --mode 0755 /data
# Dependencies first: a change of our own code neither builds nor pushes this layer again. It does not know the service, so
# that services with the same dependencies share it. Most of what is downloaded is the same for all.
RUN --mount=from=build,source=/opt/build,target=/opt/build \
    --mount=from=locked,source=/build,target=/build \
    --mount=type=cache,target=/root/.cache/uv \
    python -m venv --without-pip /opt/tickwire \
    && /opt/build/bin/uv pip install --python /opt/tickwire/bin/python --link-mode copy --compile-bytecode --no-deps \
    --require-hashes --requirement /build/requirements.lock
RUN --mount=from=build,source=/opt/build,target=/opt/build \
    --mount=from=wheel,source=/build/wheels,target=/build/wheels \
    /opt/build/bin/uv pip install --python /opt/tickwire/bin/python --no-cache --compile-bytecode --no-deps --no-index \
    /build/wheels/*.whl
ARG SERVICE
ARG VERSION
LABEL org.opencontainers.image.title="tickwire-${SERVICE}" org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.licenses="Apache-2.0"
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
