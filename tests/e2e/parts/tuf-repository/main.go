// Command tuf-repository makes a TUF repository in a folder and changes it, for the end-to-end tests:
//
//	tuf-repository -folder F init NAME=FILE...     makes keys and the first version, with these targets
//	tuf-repository -folder F publish NAME=FILE...  the next version, with these targets instead
//	tuf-repository -folder F rotate                the next root, with a new key, signed by old and new
//	tuf-repository -folder F expire ROLE           the next version, in which ROLE ended an hour ago
//
// F/repository is what a mirror serves, F/keys are the private keys. Each role has one key. What
// expired is made whole again by publish, or by rotate when it was the root.
package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/theupdateframework/go-tuf/v2/metadata"
)

const (
	root      = "root"
	targets   = "targets"
	snapshot  = "snapshot"
	timestamp = "timestamp"
)

// Longer than any test runs, and the opposite.
const (
	lifetime = 24 * time.Hour
	expired  = -time.Hour
)

type repository struct{ folder string }

func main() {
	folder := flag.String("folder", "", "folder of the repository and its keys")
	flag.Parse()
	if err := run(repository{*folder}, flag.Args()); err != nil {
		log.Fatal(err)
	}
}

func run(r repository, arguments []string) error {
	if r.folder == "" || len(arguments) == 0 {
		return errors.New("wanted -folder and one of init, publish, rotate and expire")
	}
	switch command, rest := arguments[0], arguments[1:]; command {
	case "init":
		return r.init(rest)
	case "publish":
		files, err := r.store(rest)
		if err != nil {
			return err
		}
		return r.publish(files, "")
	case "rotate":
		return r.rotate()
	case "expire":
		if len(rest) != 1 {
			return errors.New("expire wants one role")
		}
		return r.expire(rest[0])
	default:
		return fmt.Errorf("%q is no command: wanted init, publish, rotate or expire", command)
	}
}

func (r repository) init(arguments []string) error {
	for _, folder := range []string{"keys", "repository/targets"} {
		if err := os.MkdirAll(filepath.Join(r.folder, folder), 0o700); err != nil {
			return err
		}
	}
	first := metadata.Root(time.Now().Add(lifetime))
	for _, role := range []string{root, targets, snapshot, timestamp} {
		if err := r.addNewKey(first, role); err != nil {
			return err
		}
	}
	if err := r.signRoot(first, nil); err != nil {
		return err
	}
	files, err := r.store(arguments)
	if err != nil {
		return err
	}
	return r.publish(files, "")
}

func (r repository) rotate() error {
	last, err := r.lastRoot()
	if err != nil {
		return err
	}
	old, err := r.signer(root)
	if err != nil {
		return err
	}
	for _, id := range append([]string{}, last.Signed.Roles[root].KeyIDs...) {
		if err := last.Signed.RevokeKey(id, root); err != nil {
			return err
		}
	}
	if err := r.addNewKey(last, root); err != nil {
		return err
	}
	last.Signed.Version++
	last.Signed.Expires = time.Now().Add(lifetime)
	return r.signRoot(last, old)
}

func (r repository) expire(role string) error {
	if role != root {
		last := metadata.Targets()
		if _, err := last.FromFile(r.metadata(fmt.Sprintf("%d.targets.json", r.version()))); err != nil {
			return err
		}
		return r.publish(last.Signed.Targets, role)
	}
	last, err := r.lastRoot()
	if err != nil {
		return err
	}
	last.Signed.Version++
	last.Signed.Expires = time.Now().Add(expired)
	return r.signRoot(last, nil)
}

// publish writes the next version of targets, snapshot and timestamp. One role may end in the past.
func (r repository) publish(files map[string]*metadata.TargetFiles, ended string) error {
	version := r.version() + 1
	until := func(role string) time.Time {
		if role == ended {
			return time.Now().Add(expired)
		}
		return time.Now().Add(lifetime)
	}
	t := metadata.Targets(until(targets))
	t.Signed.Version, t.Signed.Targets = version, files
	if err := write(r, t, targets, fmt.Sprintf("%d.targets.json", version)); err != nil {
		return err
	}
	s := metadata.Snapshot(until(snapshot))
	s.Signed.Version, s.Signed.Meta["targets.json"] = version, metadata.MetaFile(version)
	if err := write(r, s, snapshot, fmt.Sprintf("%d.snapshot.json", version)); err != nil {
		return err
	}
	now := metadata.Timestamp(until(timestamp))
	now.Signed.Version, now.Signed.Meta["snapshot.json"] = version, metadata.MetaFile(version)
	return write(r, now, timestamp, "timestamp.json")
}

// version is that of targets, snapshot and timestamp, which count alike: 0 before the first.
func (r repository) version() int64 {
	last := metadata.Timestamp()
	if _, err := last.FromFile(r.metadata("timestamp.json")); err != nil {
		return 0
	}
	return last.Signed.Version
}

func (r repository) lastRoot() (*metadata.Metadata[metadata.RootType], error) {
	version := 1
	for {
		if _, err := os.Stat(r.metadata(fmt.Sprintf("%d.root.json", version+1))); err != nil {
			break
		}
		version++
	}
	last := metadata.Root()
	return last.FromFile(r.metadata(fmt.Sprintf("%d.root.json", version)))
}

// signRoot signs with the root's key and, where there is one, with the key before.
func (r repository) signRoot(meta *metadata.Metadata[metadata.RootType], old signature.Signer) error {
	meta.ClearSignatures()
	if old != nil {
		if _, err := meta.Sign(old); err != nil {
			return err
		}
	}
	return write(r, meta, root, fmt.Sprintf("%d.root.json", meta.Signed.Version))
}

// store copies targets, given as NAME=FILE, to where a mirror serves them.
func (r repository) store(arguments []string) (map[string]*metadata.TargetFiles, error) {
	files := map[string]*metadata.TargetFiles{}
	for _, argument := range arguments {
		name, path, ok := strings.Cut(argument, "=")
		if !ok {
			return nil, fmt.Errorf("%q is no target: wanted NAME=FILE", argument)
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		file, err := metadata.TargetFile().FromBytes(name, content, "sha256")
		if err != nil {
			return nil, err
		}
		files[name] = file
		stored := fmt.Sprintf("targets/%s.%s", file.Hashes["sha256"], name)
		if err := os.WriteFile(r.metadata(stored), content, 0o600); err != nil {
			return nil, err
		}
	}
	return files, nil
}

func (r repository) addNewKey(meta *metadata.Metadata[metadata.RootType], role string) error {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	if err := os.WriteFile(r.key(role), text, 0o600); err != nil {
		return err
	}
	public, err := metadata.KeyFromPublicKey(private.Public())
	if err != nil {
		return err
	}
	return meta.Signed.AddKey(public, role)
}

func (r repository) signer(role string) (signature.Signer, error) {
	text, err := os.ReadFile(r.key(role))
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("%s holds no PEM block", r.key(role))
	}
	private, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	return signature.LoadSigner(private, crypto.SHA256)
}

func (r repository) key(role string) string { return filepath.Join(r.folder, "keys", role+".pem") }

func (r repository) metadata(file string) string { return filepath.Join(r.folder, "repository", file) }

// write signs with the role's key and puts the file in its place whole: a mirror is serving it.
func write[T metadata.Roles](r repository, meta *metadata.Metadata[T], role, file string) error {
	signer, err := r.signer(role)
	if err != nil {
		return err
	}
	if _, err := meta.Sign(signer); err != nil {
		return err
	}
	part := r.metadata(file + ".new")
	if err := meta.ToFile(part, true); err != nil {
		return err
	}
	return os.Rename(part, r.metadata(file))
}
