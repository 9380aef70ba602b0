# Everyday commands. `just` lists them.

_default:
    @just --list

# Run every test.
test:
    ./test.sh

# Runs all checks of CI.
ci:
    .ci/run

# Format, then show what clippy says.
lint:
    cargo fmt --all
    cargo clippy --workspace --all-targets -- -D warnings

# Check licences, advisories and duplicates. Needs cargo-deny.
deny:
    cargo deny check

# The first command of the README.
demo:
    cargo run --release -- batch examples/questions.jsonl -o answers.jsonl --model sim/writer

# Review changed snapshots. Needs cargo-insta.
snapshots:
    cargo insta review

# Builds the wheel of the Python package into target/wheels, for Python 3.10 and later. Needs maturin.
wheel:
    maturin build --locked
