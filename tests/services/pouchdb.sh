#!/usr/bin/env bash
# pouchdb-server on loopback: an independent implementation of CouchDB's protocol for the automated tests. CouchDB
# itself remains the judge: this one has no /_up and no partitions, its sequences are numbers, its views are slow
# (less so by pouchdb-views.js).
#
#   pouchdb.sh install    fetch it with npm, as pinned in package-lock.json (once; needs Node.js 18 or newer)
#   pouchdb.sh up         start it and print its URL (with the login in it, when it has one)
#   pouchdb.sh down       stop it; its data stays, and the next `up` goes on with it
#   pouchdb.sh wipe       stop it and forget its data
#   pouchdb.sh kill | pause | resume | url
#   pouchdb.sh fill | free | offers    take all room that its disk has | give it back | prints fill if that can be done
#
# A bed lives in one folder, so any number of them run side by side:
#   POUCHDB_BED        the folder (default: pouchdb, beside the downloads)
# Read by the first `up` of a bed, and kept:
#   POUCHDB_PORT       its port (default: a free one)
#   POUCHDB_DISK       such as 64m: a disk of this size for its data, in memory, where that is to be had
#   POUCHDB_PASSWORD   of the user admin; without it, whoever connects may do everything
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/lib.sh"

modules=$services/pouchdb-modules
bed=${POUCHDB_BED:-$services/pouchdb}
[[ $bed = /* ]] || bed=$PWD/$bed

install() {
  local sum
  need node nodejs
  need npm npm
  sum=$(cksum < "$here/package-lock.json")
  mkdir -p "$modules"
  exec 9< "$modules"
  flock 9 # another test run may be installing into the same folder
  [ "$(cat "$modules/.installed" 2> /dev/null)" != "$sum" ] || return 0
  cp "$here/package.json" "$here/package-lock.json" "$modules"
  # No install scripts: LevelDB comes prebuilt inside its package, and nothing else here needs compiling.
  (cd "$modules" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error > install.log 2>&1) || {
    cat "$modules/install.log" >&2
    die "npm could not install pouchdb-server"
  }
  echo "$sum" > "$modules/.installed"
}

load() {
  [ -f "$bed/settings" ] || die "no bed in $bed: start one with pouchdb.sh up"
  . "$bed/settings"
}

settle() {
  if [ -f "$bed/settings" ]; then
    load
    return
  fi
  port=${POUCHDB_PORT:-$(free_ports 1)} password=${POUCHDB_PASSWORD:-}
  mkdir -p "$bed/data"
  [ -z "${POUCHDB_DISK:-}" ] || mount -t tmpfs -o "size=$POUCHDB_DISK" none "$bed/data" 2> /dev/null ||
    echo "pouchdb.sh: no disk of its own: only root may mount one" >&2
  (umask 077 && printf 'port=%q\npassword=%q\n' "$port" "$password" > "$bed/settings")
  printf '{"log": {"file": "%s/log", "level": "warning"}}\n' "$bed" > "$bed/config.json"
}

pid() { running "$bed/pid" "$bed/config.json"; }
url() { echo "http://${password:+admin:$password@}$host:$port"; }

up() {
  local turn status
  need curl curl
  [ -f "$modules/.installed" ] || install
  settle
  if pid > /dev/null; then
    url
    return
  fi
  ! listening "$port" || die "port $port is taken"
  # A session of its own, with no descriptor of ours: it outlives this script and holds no pipe open.
  setsid bash -c 'echo $$ > "$1/pid"; cd "$1"; exec node --require "$5" "$2" --config "$1/config.json" --dir "$1/data" --host "$3" --port "$4" --no-stdout-logs' _ \
    "$bed" "$modules/node_modules/pouchdb-server/bin/pouchdb-server" "$host" "$port" "$here/pouchdb-views.js" > "$bed/out" 2>&1 < /dev/null 9>&- &
  disown
  for ((turn = 0; turn < 600; turn++)); do
    ! curl -sf -o "$bed/hello" "http://$host:$port/" || break
    ((turn < 20)) || pid > /dev/null || break
    sleep 0.1
  done
  curl -sf -o "$bed/hello" "http://$host:$port/" || {
    cat "$bed/out" >&2
    die "pouchdb-server does not serve; see $bed/out and $bed/log"
  }
  if [ -n "$password" ]; then
    # Through standard input, because a command line is public. 401: the bed was up before and has its admin.
    status=$(printf '"%s"' "$password" |
      curl -s -o "$bed/hello" -w '%{http_code}' -X PUT -H 'Content-Type: application/json' --data-binary @- "http://$host:$port/_config/admins/admin")
    case $status in 200 | 401) ;; *) die "could not set the admin's password: HTTP $status" ;; esac
  fi
  url
}

signal() {
  load
  local process
  process=$(pid) || die "pouchdb-server does not run"
  kill "-$1" "$process"
  [ "$1" != KILL ] || gone "$process" 30
}

down() { ! pid > /dev/null || end "$(pid)" 10; }

has_disk() { mountpoint -q "$bed/data"; }
fill() { cat /dev/zero > "$bed/data/ballast" 2> /dev/null || true; }

command=${1:-}
case $command in
  install) install ;;
  up) up ;;
  down) down ;;
  wipe) down; ! has_disk || umount "$bed/data"; rm -rf "$bed" ;;
  fill) has_disk || die "it has no disk of its own: start it with POUCHDB_DISK=64m as root"; fill ;;
  free) rm -f "$bed/data/ballast" ;;
  offers) ! has_disk || echo fill ;;
  kill) signal KILL ;;
  pause) signal STOP ;;
  resume) signal CONT ;;
  url) load; url ;;
  *) sed -n '2,/^set -/{/^#/s/^# \{0,1\}//p}' "$0" >&2; exit 2 ;;
esac
