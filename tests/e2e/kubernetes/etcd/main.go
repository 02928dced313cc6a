// Command etcd is the store of the API server, of the version that go.mod names, for the end-to-end
// tests.
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() {
	etcdmain.Main(os.Args)
}
