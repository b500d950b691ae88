# syntax=docker/dockerfile:1
# The worker on vLLM's own image. Every step is a program that also runs outside of an image:
# scripts/image.py and `worker bake`. docs/image.md explains the arguments.

# The release whose options the worker knows; scripts/image.py refuses another one.
ARG VLLM_VERSION=0.32.0
ARG VLLM_IMAGE=vllm/vllm-openai:v${VLLM_VERSION}

FROM ${VLLM_IMAGE}

# Not below a volume's mount point, which would hide it.
WORKDIR /opt/worker

# No cache folders here: the worker finds the volume when it starts, and says so in `worker check`.
# hadolint ignore=DL3064
ENV PYTHONUNBUFFERED=1 \
    HF_HUB_DISABLE_TELEMETRY=1 \
    VLLM_NO_USAGE_STATS=1 \
    TOKENIZERS_PARALLELISM=false

# Packages change seldom, the worker often: two layers, the first of which is kept.
COPY pyproject.toml ./
COPY requirements/image.lock requirements/sbom.lock requirements/
COPY scripts/image.py scripts/
RUN python3 scripts/image.py install --no-cache \
    && python3 scripts/image.py verify \
    && python3 scripts/image.py compile \
    && python3 scripts/image.py sbom --no-cache

COPY profiles/ profiles/
COPY worker/ worker/
RUN python3 scripts/image.py compile --packages worker \
    && python3 scripts/image.py readahead

# A model inside the image; without MODEL_NAME the step does nothing. The token is a build secret
# and reaches no layer:
#   docker build --secret id=HF_TOKEN --build-arg MODEL_NAME=org/name -t me/image .
ARG MODEL_NAME=""
ARG MODEL_REVISION=""
# hadolint ignore=DL3064
ARG TOKENIZER_NAME=""
# hadolint ignore=DL3064
ARG TOKENIZER_REVISION=""
ARG QUANTIZATION=""
ARG PROFILE=""
ARG BASE_PATH=""
ARG WORKER_CUDA_VERSION=""
RUN --mount=type=secret,id=HF_TOKEN,required=false worker bake

LABEL org.opencontainers.image.title="runpod-vllm-worker" \
      org.opencontainers.image.description="Serve any LLM with vLLM on RunPod, OpenAI-compatible" \
      org.opencontainers.image.licenses="MIT"

# 20 minutes for the first start of a large model; afterwards half a minute decides.
HEALTHCHECK --interval=15s --timeout=5s --start-period=20m --retries=2 CMD ["worker", "health"]

ENTRYPOINT ["worker", "start"]
