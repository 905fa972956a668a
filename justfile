# The recipes of this project; CI runs the same scripts (`.ci/run`).

default: check

# Formatting, lints and the rules no compiler checks.
check:
    cargo fmt --check
    bash .ci/contract-lint
    cargo clippy --all-targets --all-features -- -D warnings

# Every test, with nothing else installed.
test:
    cargo test --all-features

# The documentation, without warnings.
doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --all-features

# Every feature alone.
features:
    bash .ci/features all

# Every example.
examples:
    bash .ci/examples

# The JSON Schema of the mesh file.
schema:
    cargo run --quiet --features schema --example schema > docs/mesh.schema.json

# nginx, haproxy and gRPC C-core as upstreams; `just peers full` for longer.
peers *length:
    bash .ci/peers {{length}}

# What CI runs.
ci:
    bash .ci/run

# What CI runs, and what takes longer.
full: ci features (peers "full")
