FROM rust:1.95.0-slim-bookworm AS build
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev make \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY . .
RUN cargo build --locked --profile dist --features jemalloc --bin rolecall

FROM debian:bookworm-slim
# Certificates of public authorities: for issuers, SCIM sources and PostgreSQL over TLS.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin rolecall \
    && install --directory --owner rolecall --group rolecall --mode 0700 /data
COPY --from=build /source/target/dist/rolecall /usr/local/bin/rolecall
USER 10001:10001
WORKDIR /data
VOLUME /data
# A container's own loopback cannot be reached from outside.
ENV ROLECALL_DATA_DIR=/data ROLECALL_LISTEN=0.0.0.0:8080
EXPOSE 8080
ENTRYPOINT ["/usr/local/bin/rolecall"]
CMD ["serve"]
