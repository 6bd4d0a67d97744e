// vcsim without its command line, which Debian does not package: govmomi's simulator of a vCenter on a free port of the loopback.
// It prints a line of JSON with its address and the objects that clients start from, and ends with its standard input.
package main

import (
	"encoding/json"
	"io"
	"log"
	"os"

	"github.com/vmware/govmomi/simulator"
)

func main() {
	model := simulator.VPX()
	model.Machine = 0
	if err := model.Create(); err != nil {
		log.Fatal(err)
	}
	server := model.Service.NewServer()
	datacenter := simulator.Map.Any("Datacenter").(*simulator.Datacenter)
	json.NewEncoder(os.Stdout).Encode(map[string]string{
		"url":    server.URL.String(),
		"folder": datacenter.VmFolder.Value,
		"pool":   simulator.Map.Any("ResourcePool").Reference().Value,
	})
	io.Copy(io.Discard, os.Stdin)
	server.Close()
	model.Remove()
}
