# One image for worker and Flower; with EXTRAS=demo also for the demo user service.
#   docker build -t call-gateway .
ARG PYTHON=3.13

FROM python:${PYTHON}-slim AS build
ARG EXTRAS=worker,flower,top,traces
RUN python -m venv /opt/gateway
WORKDIR /src
COPY pyproject.toml constraints.txt README.md ./
COPY gateway gateway
COPY workers workers
# Every dependency has a wheel: nothing is compiled, and no compiler gets into any stage.
RUN /opt/gateway/bin/pip install --no-cache-dir --only-binary=:all: --disable-pip-version-check \
    -c constraints.txt ".[${EXTRAS}]" \
 && /opt/gateway/bin/pip uninstall --yes pip

FROM python:${PYTHON}-slim
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin gateway \
 && python -m pip uninstall --yes pip \
 && install --directory --owner=10001 --mode=700 /state
COPY --from=build /opt/gateway /opt/gateway
# Where Flower keeps its history; a volume that is mounted here has this owner.
VOLUME /state
WORKDIR /app
COPY gateway.toml flowerconfig.py ./
COPY protos protos
COPY examples examples
ENV PATH=/opt/gateway/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 10001
# What is healthy differs between worker and Flower: docker-compose.yml says it for each.
CMD ["gateway", "worker"]
