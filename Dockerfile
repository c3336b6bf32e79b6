# Two stages: what builds stays behind; the image runs as a user without rights.
FROM python:3.12-slim AS build
WORKDIR /src
COPY requirements/build.txt requirements/run.txt requirements/
RUN python -m venv /opt/nwc-service \
 && /opt/nwc-service/bin/pip install --no-cache-dir --require-hashes -r requirements/run.txt \
 && python -m venv /opt/build \
 && /opt/build/bin/pip install --no-cache-dir --require-hashes -r requirements/build.txt
COPY pyproject.toml README.md LICENSE ./
COPY nwc_service nwc_service
COPY backends backends
RUN /opt/build/bin/python -m hatchling build -t wheel -d /tmp/wheel \
 && /opt/nwc-service/bin/pip install --no-cache-dir --no-deps /tmp/wheel/*.whl

FROM python:3.12-slim
COPY --from=build /opt/nwc-service /opt/nwc-service
RUN useradd --system --uid 10001 --home-dir /data nwc \
 && install --directory --owner=nwc --mode=0700 /data
USER nwc
VOLUME /data
ENV PATH=/opt/nwc-service/bin:$PATH \
    NWC_DATA_DIR=/data \
    NWC_ADMIN_LISTEN=127.0.0.1:8080 \
    NWC_EMBEDDED_RELAY_LISTEN=0.0.0.0:7447
EXPOSE 7447
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s CMD \
    ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/healthz', timeout=4)"]
ENTRYPOINT ["nwc-service"]
CMD ["serve"]
