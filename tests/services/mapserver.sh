#!/usr/bin/env bash
# MapServer behind lighttpd on loopback: a real WFS 2.0 for the automated tests, with made-up areas.
#
#   mapserver.sh install  the Debian packages that this machine lacks
#   mapserver.sh up       start it and print its URL
#   mapserver.sh down     stop it
#   mapserver.sh wipe     stop it and forget its data
#
# What it serves, below its URL (237 areas, numbered from 1 by `code`):
#   /wfs       ms:areas (sorted by any column; `year` is not unique), ms:areas_shp (a shapefile: refuses sortBy, has
#              "" for NULL), ms:areas_capped (its hits say 70, whatever there is)
#   /capped    the same, at most 100 a page
#   /later     the same, but the areas above 200 are gone and area 7 has another name
#   /auth      the same as /wfs, for the user tester with the password tester-secret only
#   /moved     redirects to /wfs
#
# A bed lives in one folder, so any number of them run side by side:
#   MAPSERVER_BED      the folder (default: mapserver, beside the downloads)
#   MAPSERVER_PORT     its port, read by the first `up` of a bed (default: a free one)
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/lib.sh"

mapserv=/usr/lib/cgi-bin/mapserv lighttpd=/usr/sbin/lighttpd
bed=${MAPSERVER_BED:-$services/mapserver}
[[ $bed = /* ]] || bed=$PWD/$bed

install() { "$here/debian.sh" "$mapserv:cgi-mapserver" ogr2ogr:gdal-bin "$lighttpd:lighttpd" curl:curl; }

# areas COUNT NAME: a GeoJSON file of squares between 113 and 153 east, 43 and 11 south.
areas() {
  awk -v count="$1" -v seventh="$2" 'BEGIN {
    printf "{\"type\":\"FeatureCollection\",\"name\":\"areas\",\"features\":["
    for (i = 1; i <= count; i++) {
      x = 113 + (i * 7) % 39; y = -43 + int((i - 1) / 8); name = i == 7 ? seventh : "Area " i " – Ñ"
      note = i % 5 == 0 ? "\"np\"" : "null"
      printf "%s{\"type\":\"Feature\",\"properties\":{\"code\":%d,\"name\":\"%s\",\"year\":%d,\"note\":%s},", (i > 1 ? "," : ""), i, name, 2011 + 5 * (i % 3), note
      printf "\"geometry\":{\"type\":\"Polygon\",\"coordinates\":[[[%d,%d],[%d,%d],[%d,%d],[%d,%d],[%d,%d]]]}}", x, y, x + 1, y, x + 1, y + 1, x, y + 1, x, y
    }
    print "]}"
  }'
}

# layer NAME SOURCE MORE: a layer of a map file.
layer() {
  printf 'LAYER NAME "%s" TYPE POLYGON STATUS ON %s ENCODING "UTF-8" TEMPLATE "none"\n' "$1" "$2"
  printf 'PROJECTION "init=epsg:4326" END METADATA "ows_title" "Made-up areas (%s)" "gml_include_items" "all"\n' "$1"
  printf '"gml_types" "auto" "gml_featureid" "code" END %s END\n' "${3:-}"
}

# map NAME AREAS MORE: a map file over the areas of one file.
map() {
  local gpkg="CONNECTIONTYPE OGR CONNECTION \"$bed/$2.gpkg\" DATA \"areas\""
  {
    printf 'MAP NAME "%s" STATUS ON SIZE 400 300 EXTENT 110 -45 156 -8 PROJECTION "init=epsg:4326" END\n' "$1"
    printf 'CONFIG "MS_ERRORFILE" "%s/errors"\n' "$bed"
    printf 'WEB METADATA "ows_title" "A WFS for tests" "ows_onlineresource" "http://%s:%s/%s?" "ows_srs" "EPSG:4326"\n' "$host" "$port" "$1"
    printf '"ows_enable_request" "*" "ows_accessconstraints" "CC-BY-4.0" "ows_encoding" "UTF-8"\n'
    printf '"wfs_getfeature_formatlist" "application/json" "wfs_compute_number_matched" "true" %s END END\n' "${3:-}"
    printf 'OUTPUTFORMAT NAME "application/json" DRIVER "OGR/GEOJSON" MIMETYPE "application/json"\n'
    printf 'FORMATOPTION "STORAGE=stream" FORMATOPTION "FORM=SIMPLE" FORMATOPTION "USE_FEATUREID=true" END\n'
    layer areas "$gpkg"
    layer areas_shp "DATA \"$bed/$2.shp\""
    layer areas_capped "$gpkg" 'MAXFEATURES 70'
    echo END
  } > "$bed/$1.map"
}

load() {
  [ -f "$bed/settings" ] || die "no bed in $bed: start one with mapserver.sh up"
  . "$bed/settings"
}

settle() {
  if [ -f "$bed/settings" ]; then
    load
    return
  fi
  port=${MAPSERVER_PORT:-$(free_ports 1)}
  mkdir -p "$bed/www"
  local set
  areas 237 "Area 7 – Ñ" > "$bed/now.geojson"
  areas 200 "Another name" > "$bed/later.geojson"
  for set in now later; do
    ogr2ogr -q -f GPKG "$bed/$set.gpkg" "$bed/$set.geojson" -nln areas
    ogr2ogr -q -f "ESRI Shapefile" -lco ENCODING=UTF-8 "$bed/$set.shp" "$bed/$set.geojson"
  done
  map wfs now
  map capped now '"wfs_maxfeatures" "100"'
  map later later
  echo 'tester:tester-secret' > "$bed/users"
  echo 'CONFIG ENV MS_MAP_PATTERN "." END END' > "$bed/mapserver.conf"
  cat > "$bed/lighttpd.conf" << END
server.document-root = "$bed/www"
server.bind = "$host"
server.port = $port
server.errorlog = "$bed/log"
server.modules = ("mod_redirect", "mod_alias", "mod_setenv", "mod_auth", "mod_authn_file", "mod_cgi", "mod_accesslog")
accesslog.filename = "$bed/access"
url.redirect = ("^/moved(.*)$" => "/wfs\$1")
alias.url = ("/wfs" => "$mapserv", "/capped" => "$mapserv", "/later" => "$mapserv", "/auth" => "$mapserv")
auth.backend = "plain"
auth.backend.plain.userfile = "$bed/users"
auth.require = ("/auth" => ("method" => "basic", "realm" => "tests", "require" => "valid-user"))
cgi.assign = ("mapserv" => "")
\$HTTP["url"] =~ "^/(wfs|auth)" {
  setenv.add-environment = ("MAPSERVER_CONFIG_FILE" => "$bed/mapserver.conf", "MS_MAPFILE" => "$bed/wfs.map")
}
\$HTTP["url"] =~ "^/capped" {
  setenv.add-environment = ("MAPSERVER_CONFIG_FILE" => "$bed/mapserver.conf", "MS_MAPFILE" => "$bed/capped.map")
}
\$HTTP["url"] =~ "^/later" {
  setenv.add-environment = ("MAPSERVER_CONFIG_FILE" => "$bed/mapserver.conf", "MS_MAPFILE" => "$bed/later.map")
}
END
  # Last: who finds it finds all of it.
  printf 'port=%q\n' "$port" > "$bed/settings"
}

pid() { running "$bed/pid" "$bed/lighttpd.conf"; }
url() { echo "http://$host:$port"; }

up() {
  local turn ask
  [ -x "$mapserv" ] && [ -x "$lighttpd" ] || install
  settle
  if pid > /dev/null; then
    url
    return
  fi
  ! listening "$port" || die "port $port is taken"
  # A session of its own, with no descriptor of ours: it outlives this script and holds no pipe open.
  setsid bash -c 'echo $$ > "$1/pid"; exec "$2" -D -f "$1/lighttpd.conf"' _ "$bed" "$lighttpd" > "$bed/out" 2>&1 < /dev/null 9>&- &
  disown
  ask="$(url)/wfs?service=WFS&version=2.0.0&request=GetFeature&typeNames=ms:areas&resultType=hits"
  for ((turn = 0; turn < 300; turn++)); do
    ! curl -sf "$ask" 2> /dev/null | grep -q 'numberMatched="237"' || break
    sleep 0.1
  done
  curl -sf "$ask" | grep -q 'numberMatched="237"' || {
    cat "$bed/out" >&2
    die "MapServer does not serve; see $bed/log and $bed/errors"
  }
  url
}

down() { ! pid > /dev/null || end "$(pid)" 10; }

case ${1:-} in
  install) install ;;
  up) up ;;
  down) down ;;
  wipe) down; rm -rf "$bed" ;;
  *) sed -n '2,/^set -/{/^#/s/^# \{0,1\}//p}' "$0" >&2; exit 2 ;;
esac
