# The exporter: Keras networks and trainings to models for Triton, proved on the tritonserver that it brings along.
# Build it in the root of the checkout: docker build -f docker/exporter.Dockerfile -t twinset-exporter .
FROM python:3.12-slim-bookworm
WORKDIR /source
COPY docker/requirements-build.txt docker/requirements-exporter.txt docker/
RUN python -m venv /opt/build \
 && /opt/build/bin/pip install --no-cache-dir --no-deps --require-hashes -r docker/requirements-build.txt \
 && python -m venv /opt/twinset \
 && /opt/twinset/bin/pip install --no-cache-dir --no-deps --require-hashes -r docker/requirements-exporter.txt
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY protos protos
COPY clients clients
COPY server server
COPY exporter exporter
RUN /opt/build/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheels . \
 && /opt/twinset/bin/pip install --no-cache-dir --no-deps /wheels/*.whl \
 && rm -rf /opt/build /wheels
RUN groupadd --gid 10001 twinset \
 && useradd --uid 10001 --gid 10001 --create-home twinset \
 && install -d -o 10001 -g 10001 /work
ENV PATH=/opt/twinset/bin:$PATH
USER 10001:10001
WORKDIR /work
ENTRYPOINT ["twinset-exporter"]
CMD ["--help"]
