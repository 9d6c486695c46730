# Builds Pointsman and ships the one binary, run by a user who may do nothing else.
#
#   docker build -t pointsman .
#   docker run --rm -p 6379:6379 -p 127.0.0.1:9180:9180 pointsman            the embedded default
#   docker run --rm -p 6379:6379 -v ./my.yaml:/etc/pointsman/pointsman.yaml:ro pointsman \
#       --config /etc/pointsman/pointsman.yaml                               in front of a cluster

FROM rust:1.95-bookworm AS build
# pingora's zlib-ng is built by cmake.
RUN apt-get update \
    && apt-get install -y --no-install-recommends cmake \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/source/target \
    cargo build --release --locked --bin pointsman \
    && install -D target/release/pointsman /out/pointsman

FROM debian:bookworm-slim
RUN useradd --system --no-create-home --shell /usr/sbin/nologin pointsman
COPY --from=build /out/pointsman /usr/local/bin/pointsman
USER pointsman
# 6379: clients. 9180: health, readiness, metrics; publish it only where operators are.
EXPOSE 6379 9180
STOPSIGNAL SIGTERM
# The image has neither curl nor redis-cli; bash speaks enough HTTP to ask whether we are alive. Where
# the configuration moves the admin port, tell it: docker run -e POINTSMAN_ADMIN_PORT=...
ENV POINTSMAN_ADMIN_PORT=9180
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 \
    CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/$POINTSMAN_ADMIN_PORT && printf 'GET /health HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n' >&3 && head -n 1 <&3 | grep -q ' 200 '"]
ENTRYPOINT ["pointsman"]
# Inside a container the loopback address could not be published. A command of your own replaces this.
CMD ["--listen", "0.0.0.0:6379", "--admin", "0.0.0.0:9180"]
