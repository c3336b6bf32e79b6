# Two stages: what builds stays behind; the image runs as a user without rights, needs no writable
# root, and listens to the operator only inside its own container unless it is told otherwise.
# Any base with Python 3.11 or newer and its venv will do, for amd64 and arm64 alike.
ARG BASE=python:3.12-slim
FROM ${BASE} AS build
WORKDIR /src
COPY requirements/build.txt requirements/run.txt requirements/
RUN python3 -m venv /opt/nwc-service \
 && /opt/nwc-service/bin/pip install --no-cache-dir --require-hashes -r requirements/run.txt \
 && python3 -m venv /opt/build \
 && /opt/build/bin/pip install --no-cache-dir --require-hashes -r requirements/build.txt
COPY pyproject.toml README.md LICENSE ./
COPY nwc_service nwc_service
COPY backends backends
RUN /opt/build/bin/python -m hatchling build -t wheel -d /tmp/wheel \
 && /opt/nwc-service/bin/pip install --no-cache-dir --no-deps /tmp/wheel/*.whl

FROM ${BASE}
COPY --from=build /opt/nwc-service /opt/nwc-service
RUN useradd --system --uid 10001 --home-dir /data nwc \
 && install --directory --owner=nwc --mode=0700 /data
USER nwc
VOLUME /data
ENV PATH=/opt/nwc-service/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    NWC_DATA_DIR=/data \
    NWC_ADMIN_LISTEN=127.0.0.1:8080 \
    NWC_EMBEDDED_RELAY_LISTEN=0.0.0.0:7447
EXPOSE 7447
# Where the service listens it says itself.
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s CMD ["python", "-c", "\
from pathlib import Path; from urllib.request import urlopen; \
urlopen(Path('/data/admin.url').read_text().strip() + '/healthz', timeout=4)"]
ENTRYPOINT ["nwc-service"]
CMD ["serve"]
