# `just` lists the recipes. Each is one command that also works by itself.

_default:
    @just --list

# Everything that decides whether a change is good
test *names:
    tests/run {{ names }}

# Only the tests, on SQLite, with nextest where it is installed
quick *names:
    if command -v cargo-nextest >/dev/null; then \
      ROLECALL_TEST_DATABASE=sqlite cargo nextest run --workspace --features otlp {{ names }}; else \
      ROLECALL_TEST_DATABASE=sqlite cargo test --workspace --features otlp -- {{ names }}; fi

# Format and lints
lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets --features otlp -- -D warnings

# Licences, banned and duplicate dependencies
deny:
    cargo deny check bans licenses sources

# Write schema.graphql and the generated parts of docs/ anew
generate:
    cargo run -- schema > schema.graphql.new && mv schema.graphql.new schema.graphql
    ROLECALL_WRITE_PAGES=1 ROLECALL_TEST_DATABASE=sqlite cargo test --test it generated_pages

# A story on a throw-away server
demo *options:
    cargo run --release -- demo {{ options }}

# A server with its data in ./rolecall-data
serve *options:
    cargo run --release -- serve {{ options }}

# The optimized program, target/dist/rolecall
dist:
    cargo build --locked --profile dist --features jemalloc
