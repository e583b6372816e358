# bitacora alone, on a system without a shell, as a user without rights.
#
#   docker build -t bitacora .
#   docker run --rm bitacora --help
#   docker run -d --name bitacora -v /etc/bitacora:/etc/bitacora:ro -v bitacora:/var/lib/bitacora bitacora
#
# The configuration is /etc/bitacora/bitacora.toml, the ledger belongs into /var/lib/bitacora: a volume, because what is in
# it must outlive the container.
FROM rust:1.89-slim-bookworm AS build
# The bundled SQLite and the cryptography are compiled from C.
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY . .
RUN cargo build --release --locked -p bitacora && mkdir /ledger

FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /source/target/release/bitacora /usr/bin/bitacora
COPY --from=build --chown=nonroot:nonroot /ledger /var/lib/bitacora
VOLUME /var/lib/bitacora
USER nonroot
# `docker stop` sends SIGTERM, on which bitacora stops within its 10 s.
ENTRYPOINT ["/usr/bin/bitacora"]
CMD ["run", "-c", "/etc/bitacora/bitacora.toml"]
