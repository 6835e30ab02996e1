# Sourced by the shell scripts beside it: paths, messages, and the build that they share.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=$root/build
venv=$build/venv

say() {
    printf '%s\n' "$*"
}

die() {
    printf '%s: %s\n' "$(basename "$0")" "$*" >&2
    exit 1
}

# The comment block at the top of a script is its help.
print_help() {
    sed -n '2,/^[^#]/{/^#/{s/^# \{0,1\}//;p}}' "$1"
}

# run_logged LOG COMMAND...: quiet, unless it fails.
run_logged() {
    local log=$1
    shift
    mkdir -p "$(dirname "$log")"
    if ! "$@" >"$log" 2>&1 </dev/null; then
        tail -n 40 "$log" >&2
        die "failed: $* (the whole output is in $log)"
    fi
}

# meson_configure DIRECTORY [OPTION...]: once, and again when other options are given.
# The extension module is built for the venv's Python, and the venv is the install prefix: with the
# venv's Python `import bufferd` works, and bufferd and bufctl stand beside it in its bin directory.
meson_configure() {
    local dir=$1
    shift
    local native=$build/venv.ini
    printf "[binaries]\npython = '%s'\npython3 = '%s'\n" "$venv/bin/python" "$venv/bin/python" \
        >"$native.new"
    cmp -s "$native.new" "$native" || mv "$native.new" "$native"
    rm -f "$native.new"
    local log=$build/logs/configure-$(basename "$dir").log
    if [ ! -f "$dir/build.ninja" ]; then
        run_logged "$log" meson setup "$dir" "$root" --native-file "$native" --prefix "$venv" \
            --libdir lib -Dpython.install_env=venv "$@"
        printf '%s\n' "$*" >"$dir/options"
    elif [ $# -gt 0 ] && [ "$*" != "$(cat "$dir/options" 2>/dev/null)" ]; then
        run_logged "$log" meson setup --reconfigure "$dir" "$root" "$@"
        printf '%s\n' "$*" >"$dir/options"
    fi
}

# meson_build DIRECTORY
meson_build() {
    run_logged "$build/logs/build-$(basename "$1").log" ninja -C "$1"
}

# Build with the default compiler and install into the venv.
build_and_install() {
    meson_configure "$build"
    meson_build "$build"
    run_logged "$build/logs/install.log" meson install -C "$build" --no-rebuild --only-changed
}
