package main

import (
	"fmt"
	"os"
	"regexp"
	"runtime"
	"strconv"
	"strings"

	"github.com/platformbus/platform/internal/controlplane/programs"
)

// A machine describes the hardware and software of the measurement.
type machine struct {
	CPU        string `json:"cpu"`
	Cores      int    `json:"cores"`
	MemoryGB   int    `json:"memory_gb"`
	Kernel     string `json:"kernel"`
	Go         string `json:"go"`
	Kubernetes string `json:"kubernetes"`
}

var (
	cpuModel    = regexp.MustCompile(`(?m)^model name\s*:\s*(.*)$`)
	memoryTotal = regexp.MustCompile(`(?m)^MemTotal:\s*(\d+) kB$`)
)

func describeMachine() (machine, error) {
	m := machine{
		CPU:        runtime.GOARCH, // some processors have no name
		Cores:      runtime.NumCPU(),
		Go:         strings.TrimPrefix(runtime.Version(), "go"),
		Kubernetes: strings.TrimPrefix(programs.KubernetesVersion, "v"),
	}
	cpu, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return m, fmt.Errorf("describe the machine: %w", err)
	}
	if found := cpuModel.FindSubmatch(cpu); found != nil {
		m.CPU = string(found[1])
	}
	memory, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return m, fmt.Errorf("describe the machine: %w", err)
	}
	if found := memoryTotal.FindSubmatch(memory); found != nil {
		kb, _ := strconv.Atoi(string(found[1]))
		m.MemoryGB = (kb + 1<<19) >> 20
	}
	kernel, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return m, fmt.Errorf("describe the machine: %w", err)
	}
	// What follows the version differs between builds of one kernel.
	m.Kernel, _, _ = strings.Cut(strings.TrimSpace(string(kernel)), "-")
	return m, nil
}

func (m machine) String() string {
	return fmt.Sprintf("%s, %d cores, %d GB, Linux %s; Go %s, Kubernetes %s",
		m.CPU, m.Cores, m.MemoryGB, m.Kernel, m.Go, m.Kubernetes)
}
