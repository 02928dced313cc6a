#!/bin/sh
# Builds every fuzz target and runs each for the given number of seconds (default 30).
#
#   tests/fuzz/run.sh [SECONDS] [TARGET...]
#
# Works with the stable toolchain: the flags below are those that libFuzzer's coverage needs, and
# they apply to this build only. The first failing target ends the run; libFuzzer prints the input
# and leaves it under $FUZZ_DIR/artifacts. FUZZ_DIR (default: target/fuzz) also holds the corpora,
# which grow from run to run.
set -eu

seconds=${1:-30}
[ $# -gt 0 ] && shift
case $seconds in
    '' | *[!0-9]*) echo "run.sh: $seconds is not a number of seconds" >&2; exit 2 ;;
esac
here=$(cd "$(dirname "$0")" && pwd)
dir=${FUZZ_DIR:-$here/../../target/fuzz}
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
[ $# -gt 0 ] || set -- admission_review bundle image_reference manifest simple_signing

# Memory for one target, in MiB: well above what the largest permitted input takes, so that running
# into it is a finding.
memory=1024
# Longest input, in bytes, and longest time for one, in seconds.
length=65536
patience=10

host=$(rustc -vV | sed -n 's/^host: //p')
# Naming the host as the target keeps the flags away from build scripts and procedural macros.
CARGO_TARGET_DIR=$dir/build \
CARGO_ENCODED_RUSTFLAGS=$(printf '%s\037' \
    -Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Ccodegen-units=1 \
    --cfg=fuzzing | sed 's/\x1f$//') \
    cargo build --manifest-path "$here/Cargo.toml" --target "$host" --bins

# seed TARGET NAME reads a first input from standard input.
seed() {
    mkdir -p "$dir/corpus/$1"
    cat > "$dir/corpus/$1/seed-$2"
}

hex=0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
printf 'registry.example:5000/team/app:v1@sha256:%s' "$hex" | seed image_reference full
printf 'Index.Docker.IO:443/alpine' | seed image_reference alias
printf '[2001:db8::1]:5000/a.b/c__d-e' | seed image_reference ipv6
printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:%s","size":1},"layers":[{"mediaType":"application/vnd.dev.cosign.simplesigning.v1+json","digest":"sha256:%s","size":1,"annotations":{"dev.cosignproject.cosign/signature":"AA=="}}]}' "$hex" "$hex" | seed manifest single
printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:%s","size":1,"artifactType":"application/vnd.dev.sigstore.bundle.v0.3+json"}]}' "$hex" | seed manifest index
printf '{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"u","operation":"UPDATE","kind":{"group":"","version":"v1","kind":"Pod"},"resource":{"group":"","version":"v1","resource":"pods"},"object":{"apiVersion":"v1","kind":"Pod","metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"image":"r.io/a"}],"volumes":[{"image":{"reference":"r.io/b"}}]}},"oldObject":{"apiVersion":"v1","kind":"Pod","spec":{"containers":[{"image":"r.io/c"}]}}}}' | seed admission_review update
printf '{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","verificationMaterial":{"certificate":{"rawBytes":"MAA="},"tlogEntries":[{"logIndex":"1","logId":{"keyId":"AAAA"},"kindVersion":{"kind":"dsse","version":"0.0.1"},"integratedTime":"1","inclusionPromise":{"signedEntryTimestamp":"AAAA"},"inclusionProof":{"logIndex":"1","rootHash":"AAAA","treeSize":"2","hashes":["AAAA"],"checkpoint":{"envelope":"a\\n2\\nAAAA\\n\\n\\u2014 a AAAA\\n"}},"canonicalizedBody":"e30="}],"timestampVerificationData":{"rfc3161Timestamps":[{"signedTimestamp":"MAA="}]}},"dsseEnvelope":{"payload":"e30=","payloadType":"application/vnd.in-toto+json","signatures":[{"sig":"AAAA"}]}}' | seed bundle dsse
printf '{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","verificationMaterial":{"publicKey":{"hint":"x"}},"messageSignature":{"messageDigest":{"algorithm":"SHA2_256","digest":"AAAA"},"signature":"AAAA"}}' | seed bundle message
printf '{"critical":{"identity":{"docker-reference":"r.io/a"},"image":{"docker-manifest-digest":"sha256:%s"},"type":"cosign container image signature"},"optional":null}\000AAAA\000{"SignedEntryTimestamp":"AAAA","Payload":{"body":"e30=","integratedTime":1,"logIndex":1,"logID":"%s"}}\000-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n\000\000{"SignedRFC3161Timestamp":"MAA="}' "$hex" "$hex" | seed simple_signing full
printf '{"critical":{}}\000AAAA' | seed simple_signing key

for target in "$@"; do
    echo "== $target"
    mkdir -p "$dir/corpus/$target" "$dir/artifacts"
    "$dir/build/$host/debug/$target" "$dir/corpus/$target" \
        -max_total_time="$seconds" -rss_limit_mb="$memory" -max_len="$length" \
        -timeout="$patience" -artifact_prefix="$dir/artifacts/$target-" -print_final_stats=1
done
