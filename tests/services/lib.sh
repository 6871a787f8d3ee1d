# What the service scripts share. Sourced, never run.

# Everything that a service downloads or writes lies here; git ignores it.
services=${BOWERBIRD_SERVICES:-$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)/target/services}
mkdir -p "$services"
services=$(cd "$services" && pwd)

host=127.0.0.1

die() {
  echo "$(basename "$0"): $*" >&2
  exit 1
}

# need COMMAND PACKAGE: says which Debian package is missing, instead of "command not found".
need() { command -v "$1" > /dev/null || die "$1 is missing (on Debian: apt-get install $2)"; }

listening() { (: <> "/dev/tcp/$host/$1") 2> /dev/null; }

# free_ports COUNT: the first of COUNT consecutive ports that nobody listens on. Below the range from which the
# kernel hands out ports, so that no outgoing connection of a test takes one before the service does.
free_ports() {
  local try first port
  for ((try = 0; try < 200; try++)); do
    first=$((20000 + (RANDOM * 32768 + RANDOM) % 10000))
    for ((port = first; port < first + $1; port++)); do ! listening "$port" || continue 2; done
    echo "$first"
    return
  done
  die "no $1 consecutive free ports between 20000 and 30000"
}

# running PIDFILE TEXT: prints the process id, if that process lives and its command line contains TEXT (a process
# id that the system has given to somebody else does not count).
running() {
  local pid
  pid=$(cat "$1" 2> /dev/null) && [ -n "$pid" ] && grep -qaF -- "$2" "/proc/$pid/cmdline" 2> /dev/null && echo "$pid"
}

# gone PID SECONDS: waits until the process has ended with all its threads, so that its ports and files are free.
gone() {
  local turn
  for ((turn = 0; turn < $2 * 20; turn++)); do
    awk '/^State/ { s = $2 } /^Threads/ { n = $2 } END { exit s == "Z" && n < 2 }' "/proc/$1/status" 2> /dev/null || return 0
    sleep 0.05
  done
  return 1
}

# end PID SECONDS: asks the process to stop, and ends it when it takes longer. A frozen one is thawed to hear it.
end() {
  kill "$1" 2> /dev/null || return 0
  kill -CONT "$1" 2> /dev/null || true
  gone "$1" "$2" || {
    kill -9 "$1" 2> /dev/null || true
    gone "$1" 30
  }
}
