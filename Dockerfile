# CPU:   docker build -t wsss --build-arg INDEX=ADDRESS .    # PyTorch's index of builds for CPUs; smaller by gigabytes
# CUDA:  docker build -t wsss:cuda --build-arg BASE=nvidia/cuda:12.8.1-runtime-ubuntu24.04 .
#
# docker run --shm-size=1g -v "$PWD/runs:/studies/runs" wsss run /opt/wsss/tune_configs/quickstart.yaml
# Apptainer: apptainer build wsss.sif docker-daemon://wsss:cuda; apptainer run --nv wsss.sif run STUDY --local
ARG BASE=debian:bookworm-slim

FROM ${BASE} AS build
ARG INDEX=
# The compiler is for the dense CRF and stays in this stage.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends \
    g++ python3 python3-dev python3-venv && rm -rf /var/lib/apt/lists/*
RUN python3 -m venv /opt/venv
WORKDIR /opt/wsss
COPY constraints.txt pyproject.toml README.md LICENSE ./
COPY tune_configs tune_configs
COPY wsss wsss
RUN /opt/venv/bin/pip install --no-cache-dir -c constraints.txt \
    ${INDEX:+--extra-index-url "${INDEX}"} .

FROM ${BASE}
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends \
    python3 libgomp1 wget && rm -rf /var/lib/apt/lists/* \
    && (id -u 1000 >/dev/null 2>&1 || useradd --create-home --uid 1000 wsss) \
    && mkdir -p /studies /home/wsss && chown 1000:1000 /studies /home/wsss
COPY --from=build /opt/venv /opt/venv
COPY --from=build /opt/wsss/tune_configs /opt/wsss/tune_configs
ENV PATH=/opt/venv/bin:$PATH HOME=/home/wsss \
    RAY_USAGE_STATS_ENABLED=0 MLFLOW_DISABLE_TELEMETRY=true PYTHONUNBUFFERED=1
USER 1000
WORKDIR /studies
ENTRYPOINT ["wsss"]
CMD ["--help"]
