#!/bin/sh
# Starts the real servers that tests/services.rs asks for, runs it, and ends them.
#
#   tests/with-services.sh [arguments of cargo test]
#
# nginx, curl and wrk are installed when missing (Debian, root). Under CI=true a missing one fails
# the run, elsewhere its tests are passed over.
set -eu
cd "$(dirname "$0")/.."

missing() {
    for program in nginx curl wrk; do
        command -v "$program" >/dev/null 2>&1 || echo "$program"
    done
}
if [ -n "$(missing)" ] && command -v apt-get >/dev/null 2>&1 && [ "$(id -u)" = 0 ]; then
    packages=$(missing | sed 's/^nginx$/nginx-light/')
    # shellcheck disable=SC2086 # one word for each
    timeout 300 sh -c 'apt-get update -qq && apt-get install -y -qq --no-install-recommends "$@"' - $packages ||
        echo "not all could be installed: $packages" >&2
fi
if [ -n "$(missing)" ]; then
    echo "not here, so their tests are not run:" $(missing) >&2
    [ "${CI:-}" = true ] && exit 1
fi
HEADWORKS_CURL=$(command -v curl || true) HEADWORKS_WRK=$(command -v wrk || true)
[ -z "$HEADWORKS_CURL" ] || export HEADWORKS_CURL
[ -z "$HEADWORKS_WRK" ] || export HEADWORKS_WRK

root=$(mktemp -d)
nginx_pid=
finish() {
    [ -z "$nginx_pid" ] || kill "$nginx_pid" 2>/dev/null || true
    [ -z "$nginx_pid" ] || wait "$nginx_pid" 2>/dev/null || true
    rm -rf "$root"
}
trap finish EXIT
trap 'exit 130' INT TERM

mkdir -p "$root/www" "$root/tmp"
chmod 755 "$root" "$root/www"
printf 'ok' >"$root/www/small"
dd if=/dev/zero of="$root/www/large" bs=1048576 count=8 2>/dev/null

# A port that is free now may be taken in a moment: try some.
try=0
while command -v nginx >/dev/null 2>&1; do
    try=$((try + 1))
    port=$((20000 + ($$ * 7 + try * 131) % 20000))
    cat >"$root/nginx.conf" <<CONF
daemon off;
master_process off;
worker_processes 1;
pid $root/nginx.pid;
error_log $root/error.log warn;
events { worker_connections 1024; }
http {
    access_log off;
    client_body_temp_path $root/tmp; proxy_temp_path $root/tmp; fastcgi_temp_path $root/tmp;
    uwsgi_temp_path $root/tmp; scgi_temp_path $root/tmp;
    keepalive_requests 100;
    server {
        listen 127.0.0.1:$port;
        root $root/www;
        location = /brief { keepalive_timeout 1s; return 200 "brief"; }
        location = /echo { client_max_body_size 1m; return 200 "echo"; }
    }
}
CONF
    nginx -e "$root/error.log" -c "$root/nginx.conf" -p "$root" &
    nginx_pid=$!
    up=
    for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
        kill -0 "$nginx_pid" 2>/dev/null || break
        if [ -s "$root/nginx.pid" ]; then up=1; break; fi
        sleep 0.1
    done
    if [ -n "$up" ]; then
        export HEADWORKS_NGINX="127.0.0.1:$port"
        break
    fi
    kill "$nginx_pid" 2>/dev/null || true
    wait "$nginx_pid" 2>/dev/null || true
    nginx_pid=
    if [ "$try" -ge 10 ]; then
        echo "nginx does not start:" >&2
        cat "$root/error.log" >&2
        exit 1
    fi
done

timeout 900 cargo test --features full --test services "$@" -- --ignored
