package contender

import (
	"fmt"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A Measurement holds the time and resources of an operation.
type Measurement struct {
	MS        float64
	CPUMS     float64 // of this process, user and system
	PeakRSSMB float64 // of this process, during the operation
	PerSecond float64 `json:",omitempty"` // operations in a second, if measured
	ReadKB    float64 `json:",omitempty"` // from the network, if measured
	YAMLMB    float64 `json:",omitempty"` // what the operation was given, or returned, if measured
	// RSSBeforeMB is the memory of this process before the operation, without garbage, if
	// measured.
	RSSBeforeMB float64 `json:",omitempty"`
}

// Measure runs do and measures it.
func Measure(do func() error) (Measurement, error) {
	if err := ResetPeak(); err != nil {
		return Measurement{}, err
	}
	cpu, begin := cpuTime(), time.Now()
	if err := do(); err != nil {
		return Measurement{}, err
	}
	m := Measurement{MS: Milliseconds(time.Since(begin)), CPUMS: Milliseconds(cpuTime() - cpu)}
	var err error
	m.PeakRSSMB, err = PeakRSS()
	return m, err
}

// Milliseconds returns d in milliseconds.
func Milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func cpuTime() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err) // the arguments are valid
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// ResetPeak resets the peak of this process's memory to the current value.
func ResetPeak() error { return os.WriteFile("/proc/self/clear_refs", []byte("5"), 0) }

// PeakRSS returns the peak of this process's memory since the last reset, in MB.
func PeakRSS() (float64, error) { return statusMB("VmHWM:") }

// SettledRSS collects all garbage, and returns what memory this process has then, in MB.
func SettledRSS() (float64, error) {
	debug.FreeOSMemory()
	return statusMB("VmRSS:")
}

// statusMB returns a value of the kernel's status of this process in MB.
func statusMB(name string) (float64, error) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, name); ok {
			kb, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 64)
			return kb / 1024, err
		}
	}
	return 0, fmt.Errorf("/proc/self/status has no %s", name)
}
