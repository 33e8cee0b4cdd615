# autotagger beside an Immich: see compose.yaml and docs/docker.md.
#
#   docker build -t autotagger .
#   --build-arg INTEL_GPU=yes    with Intel's OpenCL driver, for an iGPU passed through as /dev/dri
#   --build-arg PILLOW=simd      with the faster Pillow-SIMD, also while it lacks security fixes that Pillow has
#   --build-arg BASE=IMAGE       on another Debian 12
#
# As scripts/setup says, it has Pillow until Pillow-SIMD has caught up. Pillow-SIMD is built where the builder's
# processor has AVX2; plain Pillow then lies beside it, and is taken at run time where the processor has none
# (autotagger/cpu.py).
ARG BASE=docker.io/library/debian:12-slim

# The tag is in BASE.
# hadolint ignore=DL3006
FROM ${BASE} AS build
ARG PILLOW=auto
WORKDIR /opt/autotagger
# No versions: a base image of Debian stable changes them for security fixes only, and an older one is not served.
# hadolint ignore=DL3008
RUN apt-get update -qq \
    && apt-get install -y -qq --no-install-recommends ca-certificates gcc libc6-dev libjpeg62-turbo-dev \
        liblcms2-dev libtiff-dev libwebp-dev python3-dev python3-venv zlib1g-dev \
    && rm -rf /var/lib/apt/lists/*
COPY requirements requirements
COPY scripts/setup scripts/setup
COPY pyproject.toml README.md LICENSE ./
# An empty package is enough to install one in place: a change of the program alone leaves this layer as it is.
# What only installing needs goes again; so does sympy, which onnxruntime names for tools that nothing here calls.
# Its wheel holds OpenVINO's libraries three times over, as wheels cannot hold links: here they become links again.
RUN install -D /dev/null autotagger/__init__.py \
    && PILLOW=${PILLOW} scripts/setup \
    && if .venv/bin/python -m pip show -qq pillow-simd; then \
        .venv/bin/python -m pip install -qq --no-cache-dir --require-hashes --no-deps --target .venv/pillow-plain \
            -r requirements/pillow.txt; \
    fi \
    && .venv/bin/python -m pip uninstall -qq -y sympy mpmath pybind11 setuptools pip \
    && for copy in .venv/lib/python3*/site-packages/onnxruntime/capi/*.so.*; do \
        library="${copy%.so.*}.so"; \
        if cmp -s "${copy}" "${library}"; then ln -sf "$(basename "${library}")" "${copy}"; fi; \
    done \
    && rm -rf /root/.cache
COPY autotagger autotagger
RUN .venv/bin/python -m compileall -q autotagger

# The same one.
# hadolint ignore=DL3006
FROM ${BASE}
ARG INTEL_GPU=no
# hadolint ignore=DL3008
RUN apt-get update -qq \
    && apt-get install -y -qq --no-install-recommends ca-certificates libjpeg62-turbo liblcms2-2 libtiff6 libwebp7 \
        libwebpdemux2 libwebpmux3 python3-minimal libpython3-stdlib tini \
    && if [ "${INTEL_GPU}" = yes ]; then \
        apt-get install -y -qq --no-install-recommends intel-opencl-icd ocl-icd-libopencl1; \
    fi \
    && apt-get clean \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 1000 --home-dir /state --no-create-home autotagger \
    && install --directory --owner=1000 --group=1000 /state
COPY --from=build /opt/autotagger/.venv /opt/autotagger/.venv
COPY --from=build /opt/autotagger/autotagger /opt/autotagger/autotagger
ENV PATH=/opt/autotagger/.venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 AUTOTAGGER_STATE_DIR=/state
USER 1000:1000
WORKDIR /state
VOLUME /state
# SIGTERM drains; give it the time: docker stop -t 90
STOPSIGNAL SIGTERM
# Asks the run in this container, which listens on its own loopback; unhealthy also while Immich is down
HEALTHCHECK --interval=60s --timeout=10s --start-period=5m --retries=3 CMD ["autotagger", "health"]
ENTRYPOINT ["tini", "--", "autotagger"]
CMD ["run"]
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="autotagger" \
    org.opencontainers.image.description="Anime tags for the pictures and videos of an Immich library" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}" \
    org.opencontainers.image.licenses="AGPL-3.0-or-later"
