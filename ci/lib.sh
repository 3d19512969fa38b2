# Shared by the scripts in this folder; sourced, not run. POSIX shell.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
# A kernel that finds no compiled Python files starts almost a second later.
unset PYTHONDONTWRITEBYTECODE

started=$(date +%s)
stage_started=$started
stage_name=
stages_file=$(mktemp)

say() { printf '%s\n' "$*"; }
fail() {
    printf 'Error: %s\n' "$1" >&2
    [ $# -lt 2 ] || printf 'Hint: %s\n' "$2" >&2
    exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }

# stage NAME: what follows belongs to NAME; the time of the one before is noted.
stage() {
    now=$(date +%s)
    [ -z "$stage_name" ] || printf '%5d s  %s\n' $((now - stage_started)) "$stage_name" >>"$stages_file"
    stage_name=${1:-}
    stage_started=$now
    [ -z "$stage_name" ] || say "── $stage_name"
}

# part NAME COMMAND...: a stage that those after it don't depend on: if it fails they still run, and parts_failed names it.
parts_failed=
part() {
    stage "$1"
    name=$1
    shift
    "$@" || {
        say "FAILED: $name"
        parts_failed="${parts_failed:+$parts_failed, }$name"
    }
}
# stages: the end of the last one, and where the time went.
stages() {
    stage ''
    say ''
    say 'Where the time went:'
    cat "$stages_file"
    printf '%5d s  in all\n' $(($(date +%s) - started))
    rm -f "$stages_file"
}

# Root's own hands, or sudo's; used for packages and the engine's service only.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif have sudo; then
        sudo "$@"
    else
        fail "this needs root: $*" 'install sudo, or run the command above as root yourself and start again'
    fi
}

# packages NAME...: installs those of Debian's (or Ubuntu's) packages that are missing, and says which.
packages() {
    missing=
    for package; do
        dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed || missing="$missing $package"
    done
    [ -n "$missing" ] || return 0
    have apt-get || fail "missing:$missing, and this machine has no apt-get" 'install them by hand and start again'
    say "installing:$missing"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq update
    # shellcheck disable=SC2086 # a list of words
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends $missing >/dev/null
}

# Rust, at least as new as Cargo.toml asks for.
rust() {
    needed=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
    PATH="$HOME/.cargo/bin:$PATH"
    export PATH
    if have cargo && [ "$(printf '%s\n' "$needed" "$(rustc --version | cut -d' ' -f2)" | sort -V | head -n1)" = "$needed" ]; then
        return 0
    fi
    if have rustup; then
        say "installing: Rust $needed with rustup"
        rustup toolchain install "$needed" --profile minimal --component clippy --component rustfmt && rustup default "$needed"
    elif curl --proto '=https' --tlsv1.2 -sSf --connect-timeout 10 -o /tmp/rustup-init.$$ https://sh.rustup.rs; then
        say "installing: Rust $needed with rustup"
        sh /tmp/rustup-init.$$ -y -q --profile minimal --component clippy --component rustfmt --default-toolchain "$needed"
        rm -f /tmp/rustup-init.$$
    else
        # Where rustup's host isn't reached, Debian's packages for building browsers hold a recent compiler.
        packages rustc-web cargo-web rust-web-clippy rustfmt-web
    fi
    have cargo || fail 'no Rust compiler could be installed' "install Rust $needed or newer (https://rustup.rs) and start again"
}

# answers SOCKET: whether an engine listens there.
answers() { [ -S "$1" ] && curl -sf --max-time 5 --unix-socket "$1" http://engine/_ping >/dev/null 2>&1; }

# A container engine: the one that runs, else Podman's service, started here. Sets CLUSTERBOOK_ENGINE.
engine() {
    for socket in "${CLUSTERBOOK_ENGINE:-}" "${DOCKER_HOST:-}" /var/run/docker.sock /run/podman/podman.sock; do
        socket=${socket#unix://}
        if [ -n "$socket" ] && answers "$socket"; then
            CLUSTERBOOK_ENGINE=$socket
            export CLUSTERBOOK_ENGINE
            return 0
        fi
    done
    if have docker && [ -S /var/run/docker.sock ]; then
        fail 'Docker is installed and its socket does not answer' \
            'start it (sudo systemctl start docker), or join the group docker (sudo usermod -aG docker "$USER") and log in again'
    fi
    # Debian 12's crun refuses hybrid control groups, so runc is named.
    packages podman runc iproute2 nftables iptables uidmap netavark aardvark-dns
    CLUSTERBOOK_ENGINE=/run/podman/podman.sock
    export CLUSTERBOOK_ENGINE
    if [ -d /run/systemd/system ]; then
        say 'starting: podman.socket'
        as_root systemctl start podman.socket
        # The socket belongs to root; others use it through sudo only, so they are told.
        [ "$(id -u)" = 0 ] || fail "Podman's system socket belongs to root" 'run this script with sudo, or install Docker and join its group'
    else
        [ "$(id -u)" = 0 ] || fail 'there is no service manager to start Podman with' 'run this script as root'
        say 'starting: podman system service'
        mkdir -p /run/podman
        # Nobody answers there: what a service that was killed has left would be in the way of a new one.
        rm -f "$CLUSTERBOOK_ENGINE"
        setsid podman system service --time=0 "unix://$CLUSTERBOOK_ENGINE" </dev/null >/dev/null 2>&1 &
        engine_pid=$!
    fi
    tries=0
    until answers "$CLUSTERBOOK_ENGINE"; do
        tries=$((tries + 1))
        [ "$tries" -le 100 ] || fail 'the container engine does not answer' "look at: podman system service unix://$CLUSTERBOOK_ENGINE"
        sleep 0.1
    done
}

# Ends what engine() started; nodes, if any are kept, go on without it.
engine_end() { [ -z "${engine_pid:-}" ] || kill "$engine_pid" 2>/dev/null || :; }

# Python: a virtual environment with what requirements name, made once and again whenever they change.
python_environment() {
    have python3 || packages python3 python3-venv
    python3 -c 'import ensurepip, venv' 2>/dev/null || packages python3-venv
    want=$(cat ci/requirements.txt "$@" | sha256sum | cut -c1-16)
    if [ "$(cat .venv/clusterbook-requirements 2>/dev/null)" != "$want" ]; then
        say 'installing: Python packages into .venv'
        [ -x .venv/bin/python ] || python3 -m venv .venv
        for file in ci/requirements.txt "$@"; do
            .venv/bin/python -m pip install -q --disable-pip-version-check --require-hashes -r "$file"
        done
        printf '%s\n' "$want" >.venv/clusterbook-requirements
    fi
    PATH="$root/.venv/bin:$PATH"
    export PATH
}

# The tool that audits dependencies.
cargo_deny() {
    have cargo-deny && return 0
    say 'installing: cargo-deny'
    cargo install -q cargo-deny --locked --version 0.20.2
}

# What builds and runs fuzz targets; libFuzzer itself is C++.
cargo_fuzz() {
    packages g++
    have cargo-fuzz && return 0
    say 'installing: cargo-fuzz'
    cargo install -q cargo-fuzz --locked --version 0.13.2
}

# Everything that building and running needs.
setup() {
    packages git curl ca-certificates gcc libc6-dev make mmdebstrap openssh-client
    rust
    engine
    python_environment "$@"
}

# The programs and the wheel, built with one profile, installed into .venv. build [--bins | --all-targets]
build() {
    cargo build -q --workspace "${1:---bins}"
    python/build-wheel --programs target/debug
    .venv/bin/python -m pip install -q --disable-pip-version-check --no-deps --force-reinstall dist/clusterbook-*.whl
}

# Names of what is ours on the engine, a line each, sorted; prints nothing when there is nothing.
leftovers() {
    for list in 'containers/json?all=1' volumes networks; do
        curl -sf -G --unix-socket "$CLUSTERBOOK_ENGINE" "http://engine/v1.41/$list" \
            --data-urlencode 'filters={"label":["org.clusterbook.cluster"]}'
    done | grep -oE '"/?cb-[^"]*"' | tr -d '"/' | sort -u
}
