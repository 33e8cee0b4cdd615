# docker build -t autotagger .
# docker run -d --name autotagger -v autotagger:/state -e IMMICH_BASE_URL=http://192.168.1.100:2283 \
#     -e IMMICH_API_KEY_FILE=/run/secrets/key -v ./api-key:/run/secrets/key:ro autotagger   (api-key: owned by uid 1000)
#
# The build needs AVX2 for the fast imaging library, and so does the machine that runs the image;
# with --build-arg PILLOW=plain neither does.
ARG BASE=debian:12-slim

FROM ${BASE} AS build
ARG PILLOW=auto
WORKDIR /opt/autotagger
COPY . .
RUN scripts/setup && rm -rf /root/.cache /var/lib/apt/lists/*

FROM ${BASE}
RUN apt-get update -qq \
    && apt-get install -y -qq --no-install-recommends \
        python3 libjpeg62-turbo liblcms2-2 libtiff6 libwebp7 libwebpdemux2 libwebpmux3 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 1000 --home-dir /state --create-home autotagger
COPY --from=build /opt/autotagger /opt/autotagger
ENV PATH=/opt/autotagger/.venv/bin:$PATH PYTHONUNBUFFERED=1 AUTOTAGGER_STATE_DIR=/state
USER autotagger
VOLUME /state
# SIGTERM drains; give it the time: docker stop -t 90
STOPSIGNAL SIGTERM
ENTRYPOINT ["autotagger"]
CMD ["run"]
