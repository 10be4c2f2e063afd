package main_test

import (
	"os"
	"testing"

	"github.com/platformbus/platform/internal/controlplane"
)

func TestMain(m *testing.M) {
	code := controlplane.Main(m)
	os.RemoveAll(built.dir)
	os.Exit(code)
}
