// Command ctlog is a certificate transparency log on the local disk, for the end-to-end tests: the
// TesseraCT library with its POSIX storage and no more settings than a test needs.
package main

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"flag"
	"log"
	"net/http"
	"os"
	"time"

	"github.com/transparency-dev/tessera"
	tesseraposix "github.com/transparency-dev/tessera/storage/posix"
	"github.com/transparency-dev/tesseract"
	"github.com/transparency-dev/tesseract/storage"
	"github.com/transparency-dev/tesseract/storage/posix"
	"golang.org/x/mod/sumdb/note"
)

var (
	listen  = flag.String("listen", "127.0.0.1:6962", "address to answer on")
	origin  = flag.String("origin", "", "name of the log, as its checkpoints say it")
	roots   = flag.String("roots", "", "PEM file with the certificate authorities whose certificates are logged")
	keyFile = flag.String("key", "", "PEM file with the log's EC private key")
	folder  = flag.String("storage", "", "folder for the log")
)

func main() {
	flag.Parse()
	if err := serve(context.Background()); err != nil {
		log.Fatal(err)
	}
}

func serve(ctx context.Context) error {
	text, err := os.ReadFile(*keyFile)
	if err != nil {
		return err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return errors.New("the key file holds no PEM block")
	}
	key, err := x509.ParseECPrivateKey(block.Bytes)
	if err != nil {
		return err
	}
	backup, err := posix.NewRootsStorage(ctx, *folder)
	if err != nil {
		return err
	}
	chains := tesseract.ChainValidationConfig{
		RootsPEMFile:           *roots,
		RootsRemoteFetchBackup: backup,
		ExtKeyUsages:           "CodeSigning",
	}
	handler, err := tesseract.NewLogHandler(ctx, *origin, key, chains, open, 10*time.Second, false, "",
		tesseract.LogHandlerOpts{DedupRL: -1, MaxCertChainBytes: 512 << 10})
	if err != nil {
		return err
	}
	server := http.Server{Addr: *listen, Handler: handler, ReadHeaderTimeout: 5 * time.Second}
	return server.ListenAndServe()
}

// open makes the log's storage. An SCT is answered once a checkpoint covers its entry.
func open(ctx context.Context, signer note.Signer) (*storage.CTStorage, error) {
	driver, err := tesseraposix.New(ctx, tesseraposix.Config{Path: *folder})
	if err != nil {
		return nil, err
	}
	options := tessera.NewAppendOptions().
		WithCheckpointSigner(signer).
		WithCTLayout().
		WithCheckpointInterval(200*time.Millisecond).
		WithBatching(1, 50*time.Millisecond)
	appender, _, reader, err := tessera.NewAppender(ctx, driver, options)
	if err != nil {
		return nil, err
	}
	issuers, err := posix.NewIssuerStorage(ctx, *folder)
	if err != nil {
		return nil, err
	}
	return storage.NewCTStorage(ctx, &storage.CTStorageOptions{
		Appender:            appender,
		Reader:              reader,
		IssuerStorage:       issuers,
		AwaiterPollInterval: 50 * time.Millisecond,
		EnablePubAwaiter:    true,
	})
}
