#!/usr/bin/env bash
# A real Apache Kafka on loopback for tests: KRaft, each node one process that is broker and controller.
#
#   kafka.sh install            fetch broker and tools with Maven (once; needs JDK 17 or newer)
#   kafka.sh up [N]             start a bed of N nodes (default 1) and print its bootstrap servers
#   kafka.sh down               stop the bed; its data stays, and the next `up` goes on with it
#   kafka.sh wipe               stop the bed and forget its data
#   kafka.sh kill I | stop I | start I     kill -9 | clean stop | start again, and wait until it serves
#   kafka.sh pause I | resume I            a broker that hangs with its connections open | let it go on
#   kafka.sh cut                cut every connection that clients and nodes have to the nodes, once
#   kafka.sh part I J…          no packet passes between node I and nodes J, while clients reach all | heal: ends it
#   kafka.sh fill I | free I    take all room that the disk of node I has | give it back
#   kafka.sh offers             which of cut, part and fill this bed can do: they need root
#   kafka.sh tool CLASS ARGS…   one of Kafka's own tools, connected and logged in: tool TopicCommand --list
#   kafka.sh bootstrap | login | status    where clients connect | where they log in, with KAFKA_SASL=also
#
# A bed lives in one folder, so any number of them run side by side:
#   KAFKA_BED    the folder (default: kafka, beside the downloads)
# Read by the first `up` of a bed, and kept:
#   KAFKA_PORT   the first of 2 N ports (default: free ones): N for clients, then N for the controllers
#   KAFKA_SASL   1: clients log in as alice/alice-secret, by PLAIN or SCRAM-SHA-512
#                also: beside clients that do not log in, N more ports are for such that do, by PLAIN
#   KAFKA_APART  1: each node in a network of its own, where that is to be had, so that they can be parted
#   KAFKA_DISK   such as 64m: each node on a disk of this size, in memory, where that is to be had
#   KAFKA_PROPS  more broker properties, one a line; they win        KAFKA_HEAP  heap of a node (256m)
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/lib.sh"

jars=$services/kafka-jars
bed=${KAFKA_BED:-$services/kafka}
[[ $bed = /* ]] || bed=$PWD/$bed
user=alice password=alice-secret

# jvm ARCHIVE FLAGS…: Java with the class-data archive ARCHIVE, which halves the start. -Xshare:auto, the default,
# lets a JVM that cannot read the archive start without it.
jvm() {
  local archive=$jars/$1.jsa
  shift
  [ ! -f "$archive" ] || set -- "-XX:SharedArchiveFile=$archive" "$@"
  exec java -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Xlog:disable -Xlog:all=error:stderr \
    "-Dlog4j2.configurationFile=$here/log4j2.properties" -cp "$jars/*" "$@"
}

install() {
  local sum
  need java default-jre-headless
  need mvn maven
  sum=$(cksum < "$here/pom.xml")
  mkdir -p "$jars"
  exec 9< "$jars"
  flock 9 # another test run may be installing into the same folder
  [ "$(cat "$jars/.installed" 2> /dev/null)" != "$sum" ] || return 0
  KAFKA_BED=$jars/bed "$here/kafka.sh" wipe 9>&- # what an install that was killed may have left running
  rm -rf "${jars:?}"/* "$jars/.installed"
  # What Maven says (even -q prints colours) is no part of what `up` prints.
  mvn -B -ntp -q -f "$here/pom.xml" dependency:copy-dependencies -DincludeScope=runtime "-DoutputDirectory=$jars" >&2
  # One start and stop of a throw-away bed writes the class-data archives. Without them all works, but slower.
  trap "KAFKA_BED='$jars/bed' '$here/kafka.sh' wipe 9>&-" EXIT
  (
    export KAFKA_BED=$jars/bed KAFKA_SASL=1 KAFKA_PORT= KAFKA_PROPS=
    KAFKA_JVM=-XX:ArchiveClassesAtExit=$jars/node.jsa "$here/kafka.sh" up 1
    KAFKA_JVM=-XX:ArchiveClassesAtExit=$jars/tool.jsa "$here/kafka.sh" tool TopicCommand --list
    "$here/kafka.sh" down
  ) > "$jars/archives.log" 2>&1 9>&- || echo "kafka.sh: no class-data archives, starts are slower: $jars/archives.log" >&2
  echo "$sum" > "$jars/.installed"
}

# Where a node is: on loopback, or in a network namespace at a bridge, in a subnet of eight addresses that no other
# bed's port leads to (198.18.0.0/15 is for tests of networks, RFC 2544).
subnet() { echo "198.$((18 + (port / 8192) % 2)).$((port % 8192 / 32)).$((port % 32 * 8 + $1))"; }
address() { if [ "$apart" = 1 ]; then subnet "$1"; else echo "$host"; fi; }
room() { echo "bb$port-$1"; }

# inside I COMMAND…: runs it where node I is, as this process.
inside() {
  local i=$1
  shift
  if [ "$apart" = 1 ]; then exec ip netns exec "$(room "$i")" "$@"; else exec "$@"; fi
}

build_rooms() {
  local i bridge=bb$port
  ! ip link show "$bridge" > /dev/null 2>&1 || return 0
  ip link add "$bridge" type bridge && ip addr add "$(subnet 6)/29" dev "$bridge" && ip link set "$bridge" up || return 1
  for ((i = 1; i <= nodes; i++)); do
    ip netns add "$(room "$i")" && ip link add "$(room "$i")" type veth peer name eth0 netns "$(room "$i")" &&
      ip link set "$(room "$i")" master "$bridge" up && ip -n "$(room "$i")" link set lo up &&
      ip -n "$(room "$i")" addr add "$(subnet "$i")/29" dev eth0 && ip -n "$(room "$i")" link set eth0 up || return 1
  done
}

remove_rooms() {
  local i
  for ((i = 1; i <= nodes; i++)); do ip netns del "$(room "$i")" 2> /dev/null || true; done
  ip link del "bb$port" 2> /dev/null || true
}

client_port() { echo $((port + $1 - 1)); }
controller_port() { echo $((port + nodes + $1 - 1)); }
login_port() { echo $((port + 2 * nodes + $1 - 1)); }
node_pid() { running "$bed/$1/pid" "$bed/$1/server.properties"; }

alive() {
  local i
  for ((i = 1; i <= nodes; i++)); do ! node_pid "$i" > /dev/null || echo "$i"; done
}

# servers KIND I…: where the nodes take connections of a kind (client, login).
servers() {
  local kind=$1 i list=
  shift
  for i in "$@"; do list+=,$(address "$i"):$("${kind}_port" "$i"); done
  echo "${list#,}"
}

load() {
  [ -f "$bed/settings" ] || die "no bed in $bed: start one with kafka.sh up"
  apart=0 disk=
  . "$bed/settings"
}

# Chooses the settings of a new bed, or takes an old bed's, so that a restart finds its ports and its data again.
settle() {
  if [ -f "$bed/settings" ]; then
    load
    [ "${1:-$nodes}" = "$nodes" ] || die "the bed in $bed has $nodes nodes; wipe it to have $1"
    return
  fi
  nodes=${1:-1}
  [[ $nodes = [1-9] ]] || die "how many nodes? 1 to 9"
  port=${KAFKA_PORT:-$(free_ports $((3 * nodes)))}
  apart=${KAFKA_APART:-0} disk=${KAFKA_DISK:-}
  if [ "$apart" = 1 ] && { ((nodes > 5)) || ! build_rooms 2> /dev/null; }; then
    remove_rooms
    apart=0
    echo "kafka.sh: no networks for the nodes, so they can't be parted: only root may make them" >&2
  fi
  sasl=${KAFKA_SASL:-0} heap=${KAFKA_HEAP:-256m} properties=${KAFKA_PROPS:-}
  cluster=$(od -An -N10 -tx1 /dev/urandom | tr -d ' \n')0A # 22 characters: a base64 UUID
  mkdir -p "$bed"
  local name
  for name in nodes port apart disk sasl heap properties cluster; do printf '%s=%q\n' "$name" "${!name}"; done > "$bed/settings"
  cat > "$bed/client.properties" << C
security.protocol=SASL_PLAINTEXT
sasl.mechanism=SCRAM-SHA-512
sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required username="$user" password="$password";
C
}

# A cluster's patience is minutes; a test's is seconds. Hence the short intervals, and few threads and partitions.
broker_properties() {
  local i=$1 j at voters= protocol=PLAINTEXT login= copies=$((nodes < 3 ? nodes : 3)) insync=$((nodes < 3 ? 1 : 2))
  for ((j = 1; j <= nodes; j++)); do voters+=,$j@$(address "$j"):$(controller_port "$j"); done
  at=$(address "$i")
  [ "$sasl" != 1 ] || protocol=SASL_PLAINTEXT
  [ "$sasl" != also ] || login=,LOGIN://$at:$(login_port "$i")
  cat << C
process.roles=broker,controller
node.id=$i
controller.quorum.voters=${voters#,}
controller.listener.names=CONTROLLER
inter.broker.listener.name=CLIENT
listeners=CLIENT://$at:$(client_port "$i"),CONTROLLER://$at:$(controller_port "$i")$login
advertised.listeners=CLIENT://$at:$(client_port "$i")$login
listener.security.protocol.map=CLIENT:$protocol,CONTROLLER:PLAINTEXT,LOGIN:SASL_PLAINTEXT
log.dirs=$bed/$i/data
auto.create.topics.enable=false
default.replication.factor=$copies
min.insync.replicas=$insync
offsets.topic.replication.factor=$copies
transaction.state.log.replication.factor=$copies
transaction.state.log.min.isr=$insync
share.coordinator.state.topic.replication.factor=$copies
share.coordinator.state.topic.min.isr=$insync
offsets.topic.num.partitions=4
transaction.state.log.num.partitions=4
share.coordinator.state.topic.num.partitions=4
num.network.threads=2
num.io.threads=4
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
group.consumer.min.session.timeout.ms=1000
group.consumer.session.timeout.ms=6000
group.consumer.min.heartbeat.interval.ms=100
group.consumer.heartbeat.interval.ms=500
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=4000
log.cleaner.backoff.ms=1000
log.cleaner.dedupe.buffer.size=8388608
log.initial.task.delay.ms=500
log.retention.check.interval.ms=1000
log.segment.delete.delay.ms=1000
C
  [ "$sasl" != 1 ] || cat << C
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-512
sasl.mechanism.inter.broker.protocol=PLAIN
listener.name.client.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required username="broker" password="$password" user_broker="$password" user_$user="$password";
listener.name.client.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
C
  [ "$sasl" != also ] || cat << C
listener.name.login.sasl.enabled.mechanisms=PLAIN
listener.name.login.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_$user="$password";
C
  printf '%s\n' "$properties"
}

format() {
  local i=$1 login=()
  mkdir -p "$bed/$i/data"
  if [ -n "$disk" ] && ! mountpoint -q "$bed/$i/data"; then
    mount -t tmpfs -o "size=$disk" none "$bed/$i/data" 2> /dev/null ||
      echo "kafka.sh: no disk of its own for node $i: only root may mount one" >&2
  fi
  broker_properties "$i" > "$bed/$i/server.properties"
  [ ! -f "$bed/$i/data/meta.properties" ] || return 0
  [ "$sasl" != 1 ] || login=(--add-scram "SCRAM-SHA-512=[name=$user,password=$password]")
  (jvm node kafka.tools.StorageTool format -t "$cluster" -c "$bed/$i/server.properties" ${login[@]+"${login[@]}"}) \
    > "$bed/$i/format.log" 2>&1 || {
    cat "$bed/$i/format.log" >&2
    die "node $i could not be formatted"
  }
}

# The node is a session of its own, with no descriptor of ours: it outlives this script and holds no pipe open.
spawn() {
  local i=$1 taken
  ! node_pid "$i" > /dev/null || return 0
  for taken in $(client_port "$i") $(controller_port "$i") $([ "$sasl" != also ] || login_port "$i"); do
    [ "$apart" = 1 ] || ! listening "$taken" || die "node $i cannot start: port $taken is taken"
  done
  [ ! -f "$bed/$i/log" ] || mv "$bed/$i/log" "$bed/$i/log.old"
  export -f jvm inside room
  export jars here apart port
  setsid bash -c 'echo $$ > "$1/pid"; d=$1 i=$2; shift 2; inside "$i" bash -c "jvm \"\$@\"" _ node "$@" kafka.Kafka "$d/server.properties"' _ \
    "$bed/$i" "$i" "-Xmx$heap" -XX:+ExitOnOutOfMemoryError -Dlog.level=INFO ${KAFKA_JVM:+"$KAFKA_JVM"} \
    > "$bed/$i/log" 2>&1 < /dev/null 9>&- &
  disown
}

# A node says "started" after the controllers have let it serve, so no client needs to be asked.
ready() {
  local i turn
  for i in "$@"; do
    for ((turn = 0; turn < 1200; turn++)); do
      ! grep -q 'Kafka Server started' "$bed/$i/log" 2> /dev/null || continue 2
      ((turn < 20)) || node_pid "$i" > /dev/null || break
      sleep 0.1
    done
    tail -n 5 "$bed/$i/log" >&2
    die "node $i does not serve; see $bed/$i/log"
  done
}

up() {
  local i jobs=()
  need java default-jre-headless
  [ -f "$jars/.installed" ] || [ "$bed" = "$jars/bed" ] || install
  settle "$@"
  for ((i = 1; i <= nodes; i++)); do
    format "$i" &
    jobs+=($!)
  done
  for i in "${jobs[@]}"; do wait "$i"; done
  for ((i = 1; i <= nodes; i++)); do spawn "$i"; done
  ready $(seq "$nodes")
  servers client $(seq "$nodes")
}

start() {
  spawn "$1"
  if (($(alive | wc -l) * 2 > nodes)); then
    ready "$1"
  else
    echo "kafka.sh: node $1 runs, but no majority of the $nodes does: no cluster yet" >&2
  fi
}

# Asks all at once: the last nodes have no quorum left to say good-bye to, so they get little time.
down() {
  local i pid pids=()
  for i in $(alive); do
    pid=$(node_pid "$i") || continue
    kill "$pid"
    kill -CONT "$pid"
    pids+=("$pid")
  done
  for pid in ${pids[@]+"${pids[@]}"}; do gone "$pid" 5 || end "$pid" 0; done
}

# Removes only what a bed makes: the folder may hold more.
wipe() {
  local i pid
  for i in $(alive); do
    pid=$(node_pid "$i") || continue
    kill -9 "$pid"
    gone "$pid" 30
  done
  [ "$apart" != 1 ] || remove_rooms
  for i in "$bed"/[1-9]; do ! mountpoint -q "$i/data" || umount "$i/data"; done
  rm -rf "$bed"/[1-9] "$bed/settings" "$bed/client.properties"
  rmdir "$bed" 2> /dev/null || true
}

# Kafka's tools lie in four packages and disagree about how to be told the server.
tool() {
  local class=$1 connect
  shift
  case $class in
    *.*) ;;
    StorageTool) class=kafka.tools.$class ;;
    ConfigCommand) class=kafka.admin.$class ;;
    Console*Consumer) class=org.apache.kafka.tools.consumer.$class ;;
    *GroupCommand) class=org.apache.kafka.tools.consumer.group.$class ;;
    *) class=org.apache.kafka.tools.$class ;;
  esac
  connect=(--bootstrap-server "$(servers client $(alive))")
  [ "$sasl" != 1 ] || connect+=(--command-config "$bed/client.properties")
  case $class in
    *.StorageTool | *.DumpLogSegments) ;;
    *.ClusterTool) set -- "$@" "${connect[@]}" ;;
    *) set -- "${connect[@]}" "$@" ;;
  esac
  (jvm tool -Xmx256m ${KAFKA_JVM:+"$KAFKA_JVM"} "$class" "$@")
}

status() {
  local i pid
  for ((i = 1; i <= nodes; i++)); do
    if pid=$(node_pid "$i"); then
      echo "$i $(servers client "$i") $pid $(awk '/^State/ { s = $2 } /^VmRSS/ { print s, int($2 / 1024) " MiB" }' "/proc/$pid/status")"
    else
      echo "$i $(servers client "$i") down"
    fi
  done
}

cut() {
  local i
  for ((i = 1; i <= nodes; i++)); do (inside "$i" ss -K -t sport = ":$(client_port "$i")") > /dev/null; done
}

# A blackhole on both sides: neither hears that the other is gone, as where a network fails.
part() {
  local i=$1 j
  shift
  [ "$apart" = 1 ] || die "the nodes have no networks of their own: start it with KAFKA_APART=1 as root"
  for j in "$@"; do
    ip -n "$(room "$i")" route replace blackhole "$(address "$j")/32"
    ip -n "$(room "$j")" route replace blackhole "$(address "$i")/32"
  done
}
heal() {
  local i j
  [ "$apart" = 1 ] || return 0
  for ((i = 1; i <= nodes; i++)); do ip -n "$(room "$i")" route flush type blackhole; done
}

fill() {
  mountpoint -q "$bed/$1/data" || die "node $1 has no disk of its own: start it with KAFKA_DISK=64m as root"
  cat /dev/zero > "$bed/$1/data/ballast" 2> /dev/null || true
}

offers() {
  # Whoever is not root is told no only when there is a connection to be cut.
  if [ "$(id -u)" = 0 ] && [ -z "$( (inside 1 ss -K -t dport = :1) 2>&1 > /dev/null)" ]; then echo cut; fi
  [ "$apart" != 1 ] || echo part
  ! mountpoint -q "$bed/1/data" || echo fill
}

# node I: the process of node I of this bed, which must run.
node() {
  [[ ${1:-} =~ ^[0-9]+$ ]] && (($1 >= 1 && $1 <= nodes)) || die "which node? 1 to $nodes"
  node_pid "$1" || die "node $1 does not run"
}

command=${1:-}
[ $# = 0 ] || shift
case $command in
  install) install ;;
  up) up "$@" ;;
  down) [ ! -f "$bed/settings" ] || { load; down; } ;;
  wipe) [ ! -f "$bed/settings" ] || { load; wipe; } ;;
  start) load; [[ ${1:-} = [1-9] ]] || die "which node?"; start "$1" ;;
  stop) load; pid=$(node "$@"); kill "$pid"; kill -CONT "$pid"; gone "$pid" 60 || die "node $1 did not stop in 60 s" ;;
  kill) load; pid=$(node "$@"); kill -9 "$pid"; gone "$pid" 30 ;;
  pause) load; pid=$(node "$@"); kill -STOP "$pid" ;;
  resume) load; pid=$(node "$@"); kill -CONT "$pid" ;;
  cut) load; cut ;;
  part) load; part "$@" ;;
  heal) load; heal ;;
  fill) load; fill "$1" ;;
  free) load; rm -f "$bed/$1/data/ballast" ;;
  offers) load; offers ;;
  tool) load; tool "$@" ;;
  bootstrap) load; servers client $(seq "$nodes") ;;
  login) load; [ "$sasl" = also ] || die "nobody logs in here: start it with KAFKA_SASL=also"; servers login $(seq "$nodes") ;;
  status) load; status ;;
  *) sed -n '2,/^set -/{/^#/s/^# \{0,1\}//p}' "$0" >&2; exit 2 ;;
esac
