# The recipes of this project; CI runs the same scripts (`.ci/run`).

default: check

# Formatting, lints and the rules no compiler checks.
check:
    cargo fmt --check
    bash .ci/contract-lint
    cargo clippy --all-targets --all-features -- -D warnings

# All tests but `soak` and `peers`, with nothing but Rust and a C compiler installed.
test:
    cargo test --all-features

# The documentation, without warnings.
doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --all-features

# Every feature alone.
features:
    bash .ci/features all

# Every two features, and all together: half an hour and more.
pairs:
    bash .ci/features pairs

# Licences, banned crates and duplicates of the dependencies.
licences:
    bash .ci/licences

# Every example.
examples:
    bash .ci/examples

# The JSON Schema of the mesh file.
schema:
    cargo run --quiet --features schema --example schema > docs/mesh.schema.json

# Instructions, allocations, bytes and processor time beside their peers: the README's table.
bench *part:
    bash .ci/benches {{part}}

# Wall-clock times of the same, for reading.
bench-wall:
    cargo bench --quiet --bench wall

# Gate G13 on the simulator; `just simulate gate`, `tables`, `pictures` for more.
simulate *what:
    bash .ci/simulator {{what}}

# The listing of the public API.
api:
    bash .ci/public-api write

# nginx, haproxy and gRPC C-core as upstreams; `just peers full` for longer.
peers *length:
    bash .ci/peers {{length}}

# What CI runs.
ci:
    bash .ci/run

# Every fuzz target for so many seconds each.
fuzz seconds="30":
    bash .ci/fuzz {{seconds}}

# Random faults over real servers for so many seconds.
soak seconds="60":
    bash .ci/soak {{seconds}}

# What CI runs, and what takes longer.
full:
    bash .ci/full

# What takes too long for CI.
long:
    bash .ci/long
