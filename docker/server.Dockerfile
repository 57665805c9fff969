# The service: everything that `twinset-server serve` needs but Triton, which runs in a container of its own.
# Build it in the root of the checkout: docker build -f docker/server.Dockerfile -t twinset-server .
FROM python:3.12-slim-bookworm AS build
WORKDIR /source
COPY docker/requirements-build.txt docker/requirements-server.txt docker/
RUN python -m venv /opt/build \
 && /opt/build/bin/pip install --no-cache-dir --no-deps --require-hashes -r docker/requirements-build.txt \
 && python -m venv /opt/twinset \
 && /opt/twinset/bin/pip install --no-cache-dir --no-deps --require-hashes -r docker/requirements-server.txt
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY protos protos
COPY clients clients
COPY server server
COPY exporter exporter
RUN /opt/build/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheels . \
 && /opt/twinset/bin/pip install --no-cache-dir --no-deps /wheels/*.whl \
 && rm -rf /opt/twinset/lib/python3.12/site-packages/twinset_exporter /opt/twinset/bin/twinset-exporter \
 && /opt/twinset/bin/python -m compileall -q /opt/twinset/lib/python3.12/site-packages \
 && /opt/twinset/bin/pip uninstall --yes --quiet pip

FROM python:3.12-slim-bookworm
# Numbers, so that Kubernetes can see that this isn't root.
RUN groupadd --gid 10001 twinset \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /var/lib/twinset twinset \
 && install -d -o 10001 -g 10001 /var/lib/twinset
COPY --from=build /opt/twinset /opt/twinset
ENV PATH=/opt/twinset/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    TWINSET_STORE__PATH=/var/lib/twinset/data \
    TWINSET_SERVER__HOST=0.0.0.0 \
    TWINSET_PROBES__HOST=0.0.0.0 \
    TWINSET_PROBES__PORT=50053
USER 10001:10001
WORKDIR /var/lib/twinset
VOLUME /var/lib/twinset
EXPOSE 50051 50053
HEALTHCHECK --interval=30s --timeout=5s --start-period=120s CMD ["twinset-server", "health", "readiness"]
ENTRYPOINT ["twinset-server"]
CMD ["serve"]
